"""Text to token ids: one object, used by training, evaluation and the device."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from nearfar.embedder import Item, Side
from nearfar.errors import DataError
from nearfar.frontend.frontend import Feed, GraphInput
from nearfar.frontend.length_batches import CHARACTERS_PER_TOKEN, length_batches
from nearfar.frontend.settings import TextSettings
from nearfar.frontend.unicode import without_surrogates
from nearfar.frontend.vocabulary import train_tokenizer

Ids = npt.NDArray[np.int32]

_TOKENS_PER_BATCH = 16_384  # bounds the memory of one run of a graph whatever the texts are
_TEXTS_PER_BLOCK = 4_096  # texts that are tokens at the same time

_PADDING_NAMES = ("[PAD]", "<pad>", "<|pad|>", "<|padding|>")
_UNKNOWN_NAMES = ("[UNK]", "<unk>")


class TextFrontend:
    """A tokenizer with the prompts and lengths of both sides.

    The tokenizer's own truncation and padding are switched off: both are done here, so that one object serves queries
    and documents from several threads at once.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_query_tokens: int,
        max_document_tokens: int,
        query_prompt: str = "",
        document_prompt: str = "",
    ) -> None:
        """Wrap `tokenizer`.

        Args:
            tokenizer: its normaliser, pre-tokeniser, model and post-processor are kept.
            max_query_tokens: longest query in tokens, special tokens included.
            max_document_tokens: longest document in tokens, special tokens included.
            query_prompt: put before every query.
            document_prompt: put before every document.

        Raises:
            DataError: a length leaves no room for text beside the special tokens.
        """
        self._tokenizer = tokenizer
        padding: dict[str, Any] = tokenizer.padding or {}
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._max_tokens: dict[Side, int] = {"query": max_query_tokens, "document": max_document_tokens}
        self._prompts: dict[Side, str] = {"query": query_prompt, "document": document_prompt}
        self._before, self._after = _special_tokens_around(tokenizer)
        reserved = len(self._before) + len(self._after)
        for side, limit in self._max_tokens.items():
            if limit <= reserved:
                raise DataError(
                    f"max_{side}_tokens is {limit}, but the tokenizer adds {reserved} special tokens to every text: "
                    f"set it to {reserved + 1} or more"
                )
        self._pad_id = int(padding.get("pad_id", _first_known(tokenizer, _PADDING_NAMES, default=0)))
        own_unknown = getattr(tokenizer.model, "unk_token", None)
        unknown_names = (own_unknown, *_UNKNOWN_NAMES) if isinstance(own_unknown, str) else _UNKNOWN_NAMES
        self._unknown_id = _first_known(tokenizer, unknown_names, default=self._pad_id)

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        model: Literal["wordpiece", "bpe"] = "wordpiece",
        vocab_size: int = 16_000,
        lowercase: bool = True,
        split_identifiers: bool = False,
        add_special: bool = False,
        max_query_tokens: int = 64,
        max_document_tokens: int = 256,
        query_prompt: str = "",
        document_prompt: str = "",
    ) -> Self:
        """Learn the vocabulary from `texts`; see `train_tokenizer` for the first arguments and what it raises."""
        tokenizer = train_tokenizer(
            texts,
            model=model,
            vocab_size=vocab_size,
            lowercase=lowercase,
            split_identifiers=split_identifiers,
            add_special=add_special,
        )
        return cls(
            tokenizer,
            max_query_tokens=max_query_tokens,
            max_document_tokens=max_document_tokens,
            query_prompt=query_prompt,
            document_prompt=document_prompt,
        )

    @classmethod
    def from_file(
        cls,
        path: Path,
        *,
        max_query_tokens: int = 64,
        max_document_tokens: int = 256,
        query_prompt: str = "",
        document_prompt: str = "",
    ) -> Self:
        """Use an existing `tokenizer.json`.

        Raises:
            DataError: the file is missing or is no tokenizer.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"{path}: cannot read the tokenizer ({error.strerror}): give the path of a tokenizer.json"
            ) from error
        settings = TextSettings(
            max_query_tokens=max_query_tokens,
            max_document_tokens=max_document_tokens,
            query_prompt=query_prompt,
            document_prompt=document_prompt,
        )
        return cls.from_bytes(content, settings, name=str(path))

    @classmethod
    def from_bytes(cls, content: bytes, settings: TextSettings, *, name: str = "tokenizer.json") -> Self:
        """Make the frontend from the content of a `tokenizer.json`; `name` is for messages.

        Raises:
            DataError: the content is no tokenizer.
        """
        try:
            tokenizer = Tokenizer.from_buffer(content)
        except Exception as error:  # the library raises bare Exception
            raise DataError(
                f"{name}: not a tokenizer file ({error}): write it with Tokenizer.save() of `tokenizers`"
            ) from error
        return cls(
            tokenizer,
            max_query_tokens=settings.max_query_tokens,
            max_document_tokens=settings.max_document_tokens,
            query_prompt=settings.query_prompt,
            document_prompt=settings.document_prompt,
        )

    @classmethod
    def load(cls, directory: Path, settings: TextSettings | dict[str, Any]) -> Self:
        """Read what `save` wrote.

        Raises:
            DataError: the tokenizer file is missing or damaged.
        """
        checked = TextSettings.model_validate(settings)
        arguments = checked.model_dump(exclude={"kind", "tokenizer"})
        return cls.from_file(directory / checked.tokenizer, **arguments)

    def save(self, directory: Path) -> dict[str, Any]:
        """Write `tokenizer.json` into `directory` and return the settings that `load` needs, ready for JSON."""
        (directory / self.settings.tokenizer).write_bytes(self.to_bytes())
        return self.settings.model_dump(mode="json")

    def to_bytes(self) -> bytes:
        """Return the content of `tokenizer.json`."""
        return self._tokenizer.to_str().encode()

    @property
    def settings(self) -> TextSettings:
        """Lengths and prompts."""
        return TextSettings(
            max_query_tokens=self._max_tokens["query"],
            max_document_tokens=self._max_tokens["document"],
            query_prompt=self._prompts["query"],
            document_prompt=self._prompts["document"],
        )

    @property
    def pad_id(self) -> int:
        """The id that fills up a batch; always masked."""
        return self._pad_id

    @property
    def vocab_size(self) -> int:
        """One more than the largest id, so a table of this many rows holds them all."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def pieces(self) -> list[str]:
        """What stands for each id, as the vocabulary writes it; an empty string where an id stands for nothing."""
        pieces = [""] * self.vocab_size
        for piece, number in self._tokenizer.get_vocab(with_added_tokens=True).items():
            pieces[number] = piece
        return pieces

    def bare(self, settings: TextSettings) -> TextFrontend:
        """The same vocabulary without special tokens around a text, and with other lengths and prompts."""
        plain = {**json.loads(self._tokenizer.to_str()), "post_processor": None}
        return TextFrontend.from_bytes(json.dumps(plain, ensure_ascii=False).encode(), settings)

    def encode(self, texts: Sequence[str], side: Side) -> list[Ids]:
        """Turn texts into token ids.

        Args:
            texts: n strings; any Unicode, any length, also empty.
            side: whose prompt and length to use.

        Returns:
            n int32 arrays of 1 to `max_<side>_tokens` ids. A text without any token is one unknown token, so that
            every text has a finite embedding.

        Raises:
            DataError: an item is not a string.
        """
        room = self._room(side)
        encoded = self._tokenizer.encode_batch_fast(self._prepared(texts, side), add_special_tokens=False)
        rows = [[*self._before, *encoding.ids[:room], *self._after] for encoding in encoded]
        return [np.array(row or [self._unknown_id], dtype=np.int32) for row in rows]

    def words(self, texts: Sequence[str], side: Side) -> list[Ids]:
        """Which word of its text each token of `encode` is of.

        Args:
            texts: n strings.
            side: as in `encode`.

        Returns:
            n int32 arrays as long as those of `encode`: words are numbered from 0 in their order; -1 for special tokens and the prompt.

        Raises:
            DataError: an item is not a string.
        """
        prompt, room = len(self._prompts[side]), self._room(side)
        rows = []
        for encoding in self._tokenizer.encode_batch(self._prepared(texts, side), add_special_tokens=False):
            pieces = zip(encoding.word_ids[:room], encoding.offsets[:room], strict=True)
            own = [word if word is not None and end > prompt else -1 for word, (_, end) in pieces]
            place = {word: number for number, word in enumerate(sorted(set(own) - {-1}))}
            inside = [place.get(word, -1) for word in own]
            rows.append([-1 for _ in self._before] + inside + [-1 for _ in self._after])
        return [np.array(row or [-1], dtype=np.int32) for row in rows]

    def _room(self, side: Side) -> int:
        """Most tokens of a text itself."""
        return self._max_tokens[side] - len(self._before) - len(self._after)

    def _prepared(self, texts: Sequence[str], side: Side) -> list[str]:
        """Texts behind their prompt, cut where nothing more can reach the encoder."""
        self.check(texts)
        prompt, longest = self._prompts[side], self._max_tokens[side] * CHARACTERS_PER_TOKEN
        prepared = []
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"item {position} is {type(text).__name__}, not a string: pass a list of texts")
            prepared.append(prompt + without_surrogates(text[:longest]))
        return prepared

    @property
    def inputs(self) -> Mapping[str, GraphInput]:
        """What the graph of a tower takes."""
        return {name: GraphInput("tensor(int64)", 2) for name in ("ids", "mask")}

    @property
    def contract(self) -> str:
        """The same in words."""
        return "ids and mask, both int64 (n, L)"

    @property
    def unit(self) -> str:
        """What a batch is counted in."""
        return "tokens"

    @property
    def sides_differ(self) -> bool:
        """Prompts and lengths belong to a side."""
        return True

    def check(self, items: Sequence[Item]) -> None:
        """Refuse one string, which Python takes for a list of its characters.

        Raises:
            DataError: `items` is a string.
        """
        if isinstance(items, str):
            raise DataError("got one string where a list of texts is needed: wrap it as [text]")

    def feeds(self, items: Sequence[Item], side: Side, batch_size: int) -> Iterator[tuple[list[int], Feed]]:
        """Yield batches of texts of like length; see `Frontend.feeds`."""
        for start in range(0, len(items), _TEXTS_PER_BLOCK):
            rows = self.encode(items[start : start + _TEXTS_PER_BLOCK], side)
            for batch in length_batches([len(row) for row in rows], batch_size, _TOKENS_PER_BATCH):
                ids, mask = self.pad([rows[position] for position in batch])
                yield [start + position for position in batch], {"ids": ids, "mask": mask}

    def trials(self, side: Side) -> Feed:
        """The shortest and the longest row, of the last token of the vocabulary."""
        rows = [np.full(length, self.vocab_size - 1, dtype=np.int32) for length in (1, self._max_tokens[side])]
        ids, mask = self.pad(rows)
        return {"ids": ids, "mask": mask}

    def frame(self, side: Side) -> tuple[Ids, Ids]:
        """The ids before and after the text in every row of `encode`: special tokens, and the prompt of that side.

        Where the tokenizer joins the end of the prompt to the first word, a row starts with a part of the first ones only.
        """
        prompt = self._tokenizer.encode(self._prompts[side], add_special_tokens=False).ids
        return np.array([*self._before, *prompt], dtype=np.int32), np.array(self._after, dtype=np.int32)

    def pad(self, rows: Sequence[Ids]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Make one batch of `encode`'s rows.

        Args:
            rows: n arrays of ids.

        Returns:
            ids int64 (n, L) and mask int64 (n, L), 1 where there is a token; L is the longest row, at least 1.
        """
        length = max((len(row) for row in rows), default=1) or 1
        ids = np.full((len(rows), length), self._pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), length), dtype=np.int64)
        for position, row in enumerate(rows):
            ids[position, : len(row)] = row
            mask[position, : len(row)] = 1
        return ids, mask


def _special_tokens_around(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Find what the post-processor puts before and after a text, by looking at one."""
    for probe in ("a", "0", "."):  # the vocabulary may lack any one of them
        content = tokenizer.encode(probe, add_special_tokens=False).ids
        whole = tokenizer.encode(probe, add_special_tokens=True).ids
        for start in range(len(whole) - len(content) + 1) if content else ():
            if whole[start : start + len(content)] == content:
                return whole[:start], whole[start + len(content) :]
    raise DataError(
        "the tokenizer's post-processor changes the tokens of a text instead of adding some before and after it: "
        "use a tokenizer.json without it"
    )


def _first_known(tokenizer: Tokenizer, names: Iterable[str], default: int) -> int:
    """Return the id of the first of `names` that is in the vocabulary."""
    found = (tokenizer.token_to_id(name) for name in names)
    return next((number for number in found if number is not None), default)
