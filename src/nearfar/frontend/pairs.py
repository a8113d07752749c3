"""A query with each of its passages to token ids: one object, used by training, the check of an export, and the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from nearfar.errors import DataError
from nearfar.frontend.frontend import Feed, GraphInput
from nearfar.frontend.length_batches import CHARACTERS_PER_TOKEN, length_batches
from nearfar.frontend.settings import PairSettings
from nearfar.frontend.unicode import without_surrogates

Ids = npt.NDArray[np.int32]

_TOKENS_PER_BATCH = 4_096  # a transformer's memory grows with the square of a row: 8 rows of 512 tokens are 100 MB
_PADDING_NAMES = ("[PAD]", "<pad>", "<|pad|>", "<|padding|>")


class PairRow(NamedTuple):
    """One pair as tokens.

    Attributes:
        ids: int32 (L,).
        types: int32 (L,), 0 in the query and 1 in the passage as the model's own tokeniser has it.
    """

    ids: Ids
    types: Ids


class PairFrontend:
    """A tokenizer that puts a query and a passage into one row, in the form that its model was trained on.

    The query is cut first, the passage to what is left: a passage never pushes the query out. The tokenizer's own truncation
    and padding are switched off, so that one object serves several threads.

    Args:
        tokenizer: its post-processor says how a pair is joined.
        settings: lengths.

    Raises:
        DataError: the lengths leave no room for text beside the special tokens.
    """

    def __init__(self, tokenizer: Tokenizer, settings: PairSettings) -> None:
        self._tokenizer, self._settings = tokenizer, settings
        padding = tokenizer.padding or {}
        self._content = tokenizer.to_str().encode()  # with its padding token, which is switched off next
        tokenizer.no_truncation()
        tokenizer.no_padding()
        found = (tokenizer.token_to_id(name) for name in _PADDING_NAMES)
        self._pad_id = int(padding.get("pad_id", next((number for number in found if number is not None), 0)))
        reserved = tokenizer.num_special_tokens_to_add(is_pair=True)
        if settings.max_tokens < settings.max_query_tokens + reserved + 1:
            raise DataError(
                f"max_tokens is {settings.max_tokens}, but a query may have {settings.max_query_tokens} and every pair has "
                f"{reserved} special tokens: set it to {settings.max_query_tokens + reserved + 1} or more"
            )
        self._room = settings.max_tokens - reserved

    @classmethod
    def from_bytes(cls, content: bytes, settings: PairSettings, *, name: str = "tokenizer.json") -> Self:
        """Make the frontend from the content of a `tokenizer.json`; `name` is for messages.

        Raises:
            DataError: the content is no tokenizer, or does not fit the settings.
        """
        try:
            tokenizer = Tokenizer.from_buffer(content)
        except Exception as error:  # the library raises bare Exception
            raise DataError(
                f"{name}: not a tokenizer file ({error}): write it with Tokenizer.save() of `tokenizers`"
            ) from error
        return cls(tokenizer, settings)

    def to_bytes(self) -> bytes:
        """Return the content of `tokenizer.json`."""
        return self._content

    @property
    def settings(self) -> PairSettings:
        """Lengths, and what the graph is told."""
        return self._settings

    @property
    def vocab_size(self) -> int:
        """One more than the largest id, so a table of this many rows holds them all."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def inputs(self) -> Mapping[str, GraphInput]:
        """What the graph takes."""
        names = ("ids", "mask", "types") if self._settings.types else ("ids", "mask")
        return {name: GraphInput("tensor(int64)", 2) for name in names}

    @property
    def contract(self) -> str:
        """The same in words."""
        return f"{', '.join(self.inputs)}, all int64 (n, L)"

    def encode(self, query: str, passages: Sequence[str]) -> list[PairRow]:
        """Turn a query with each of its passages into tokens.

        Args:
            query: any Unicode, any length, also empty.
            passages: n strings, likewise.

        Returns:
            n rows of 1 to `max_tokens` tokens.

        Raises:
            DataError: something is not a string, or `passages` is one string.
        """
        if isinstance(passages, str):
            raise DataError("got one string where a list of passages is needed: wrap it as [passage]")
        for what, text in (("the query", query), *((f"passage {i}", passage) for i, passage in enumerate(passages))):
            if not isinstance(text, str):
                raise DataError(f"{what} is {type(text).__name__}, not a string: pass texts")
        asked = self._tokenizer.encode(self._cut(query, self._settings.max_query_tokens), add_special_tokens=False)
        asked.truncate(self._settings.max_query_tokens)
        room = self._room - len(asked)
        rows = []
        texts = [self._cut(passage, room) for passage in passages]
        for passage in self._tokenizer.encode_batch(texts, add_special_tokens=False):
            passage.truncate(room)
            pair = self._tokenizer.post_process(asked, passage)
            ids = pair.ids or [self._pad_id]  # a tokenizer without special tokens makes nothing of two empty texts
            rows.append(PairRow(np.array(ids, dtype=np.int32), np.array(pair.type_ids or [0], dtype=np.int32)))
        return rows

    def feeds(self, query: str, passages: Sequence[str], batch_size: int) -> Iterator[tuple[list[int], Feed]]:
        """Yield batches of pairs of like length, so that memory does not grow with their number.

        Yields:
            Positions in `passages`, and the inputs of the graph for them; every position comes once.

        Raises:
            DataError: see `encode`.
        """
        rows = self.encode(query, passages)
        for batch in length_batches([len(row.ids) for row in rows], batch_size, _TOKENS_PER_BATCH):
            yield batch, self.pad([rows[position] for position in batch])

    def trials(self) -> Feed:
        """The shortest and the longest row, of the last token of the vocabulary, to try a graph with."""
        lengths, last = (1, self._settings.max_tokens), self.vocab_size - 1
        return self.pad(
            [PairRow(np.full(length, last, np.int32), np.arange(length, dtype=np.int32) % 2) for length in lengths]
        )

    def pad(self, rows: Sequence[PairRow]) -> Feed:
        """Make one batch, `ids`, `mask` and perhaps `types`, each int64 (n, L); L is the longest row."""
        length = max((len(row.ids) for row in rows), default=1)
        ids = np.full((len(rows), length), self._pad_id, dtype=np.int64)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        for position, row in enumerate(rows):
            ids[position, : len(row.ids)] = row.ids
            mask[position, : len(row.ids)] = 1
            types[position, : len(row.ids)] = row.types
        feed = {"ids": ids, "mask": mask}
        return feed | {"types": types} if self._settings.types else feed

    @staticmethod
    def _cut(text: str, tokens: int) -> str:
        """What can reach the model of `text` at all: a pasted 100 kB must not cost more than a short one."""
        return without_surrogates(text[: tokens * CHARACTERS_PER_TOKEN])
