"""The tower for texts: words on disk as token ids, some of them left out in training."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nearfar.errors import DataError, RunError
from nearfar.frontend import TextFrontend, TextSettings
from nearfar.frontend.length_batches import CHARACTERS_PER_TOKEN
from nearfar.learn.data.batches import Tokens
from nearfar.learn.data.textfile import TextFile, TokenFile, append_text, text_key
from nearfar.learn.data.whole import write_whole
from nearfar.learn.encoders import TextEncoder, build_encoder
from nearfar.learn.encoders.text import PaddedTextEncoder
from nearfar.learn.export.text import export_graph
from nearfar.learn.model import build_text_tower, fit_frontend
from nearfar.learn.towers.start import check_start, joint_prefixes, load_start, run_of
from nearfar.learn.towers.tower import Inputs, RefusedItem
from nearfar.recipe.joint import BundleEncoder, TextTower
from nearfar.recipe.text import Prompts, TextEncoderSettings, TextFrontendSettings, TrainTokenizer

Ints = npt.NDArray[np.int64]
Ids = npt.NDArray[np.int32]

_AT_A_TIME = 1024


class TextSide:
    """A tower for texts; see `Tower`.

    A text of a joint space is query and item alike: a caption finds pictures and is found by them. So both sides have one prompt, and
    the longer of the two lengths.

    Args:
        name: of the tower.
        settings: its block.
    """

    def __init__(self, name: str, settings: TextTower) -> None:
        self.name, self.settings = name, settings

    @property
    def frontend(self) -> TextFrontendSettings:
        """The block of the frontend, both sides alike."""
        block = self.settings.frontend
        longest = max(block.max_query_tokens, block.max_document_tokens)
        return block.model_copy(update={"max_query_tokens": longest, "max_document_tokens": longest})

    def check(self) -> None:
        """Meet prompts that differ, a model or tokenizer that is not there or does not fit, or a run without vocabulary."""
        block, key = self.settings.frontend, f"towers.{self.name}"
        if block.prompts.query != block.prompts.document:
            raise RunError(
                f"{key}.frontend.prompts differ ({block.prompts.query!r}, {block.prompts.document!r}), but a text is query and item alike "
                "in a space of several modalities: give both the same"
            )
        check_start(self.settings.start, f"{key}.start")
        try:
            if self.settings.start is not None and isinstance(block.tokenizer, TrainTokenizer):
                self._fitted(())
            elif not isinstance(block.tokenizer, TrainTokenizer):
                whole = block.tokenizer
                if getattr(whole, "pieces", "all") != "all":
                    whole = whole.model_copy(update={"pieces": "all"})
                frontend = fit_frontend(self.frontend.model_copy(update={"tokenizer": whole}), self._encoder_block, ())
                with torch.random.fork_rng(devices=[]):
                    build_encoder(
                        self._encoder_block, self.frontend, vocab_size=frontend.vocab_size, pad_id=frontend.pad_id
                    )
        except (RunError, DataError) as error:
            raise RunError(f"{key}: {error}") from error

    def writer(self, folder: Path, *, seed: int) -> TextWriter:
        """Begin to keep items in `folder`."""
        del seed
        return TextWriter(folder, self)

    def open(self, folder: Path) -> TextItems:
        """Open what the writer left."""
        return TextItems.open(folder, self.settings.word_dropout)

    def encoder(self, items: TextItems, *, dim: int, started: bool = True) -> TextTowerEncoder:
        """The encoder with fresh weights, those of `start`, or of the pretrained model."""
        del dim
        built = build_text_tower(self._encoder_block, self.frontend, items.tokenizer, items.document_share)
        if started and self.settings.start is not None:
            load_start(built, self.settings.start, f"towers.{self.name}.start", prefixes=joint_prefixes(self.name))
        return TextTowerEncoder(built)

    def graph(self, encoder: nn.Module, items: TextItems, *, quantise: str, calibration: Ints) -> bytes:
        """The ONNX model of a trained encoder; see `export_graph`."""
        assert isinstance(encoder, TextTowerEncoder)
        return export_graph(encoder.encoder, dim=encoder.dim, quantise=quantise)

    def fit(self, texts: Iterable[str]) -> tuple[TextFrontend, TextSettings]:
        """The frontend, with a vocabulary learned from `texts` where the recipe says so, and what the manifest says of it.

        Raises:
            DataError: no vocabulary can be learned from them.
            RunError: a pretrained model, or the run to start from, has no vocabulary that can be used.
        """
        # What cannot reach the encoder is not learned from either: of one word of a million letters that would take hours.
        longest = self.frontend.max_document_tokens * CHARACTERS_PER_TOKEN
        fitted = self._fitted(text[:longest] for text in texts)
        return fitted, fitted.settings.model_copy(update={"tokenizer": f"{self.name}-tokenizer.json"})

    def _fitted(self, texts: Iterable[str]) -> TextFrontend:
        start, block = self.settings.start, self.frontend
        if start is None or not isinstance(block.tokenizer, TrainTokenizer):
            return fit_frontend(block, self._encoder_block, texts)
        # Weights are rows of the vocabulary that they were learned with.
        path = next((p for p in _vocabularies(run_of(start), self.name) if p.is_file()), None)
        if path is None:
            raise RunError(
                f"start is of {run_of(start)}, which has no vocabulary (frontend/tokenizer.json): give a run over texts, or name its "
                "tokenizer in frontend.tokenizer"
            )
        prompts: Prompts = block.prompts
        return TextFrontend.from_file(
            path,
            max_query_tokens=block.max_query_tokens,
            max_document_tokens=block.max_document_tokens,
            query_prompt=prompts.query,
            document_prompt=prompts.document,
        )

    @property
    def _encoder_block(self) -> TextEncoderSettings:
        assert not isinstance(self.settings.encoder, BundleEncoder)
        return self.settings.encoder


def _vocabularies(run: Path, name: str) -> tuple[Path, ...]:
    """Where runs over texts, and over several modalities, have their vocabulary."""
    return run / "frontend" / "tokenizer.json", run / "data" / "towers" / name / "tokenizer.json"


class TextTowerEncoder(nn.Module):
    """An encoder of texts, which takes padded token ids.

    Args:
        encoder: what embeds.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.encoder, self.dim = encoder, encoder.dim

    def forward(self, inputs: Inputs) -> Tensor:
        """Embed n texts: ids (n, L) and mask (n, L), int64."""
        ids, mask = inputs
        if isinstance(self.encoder, PaddedTextEncoder):
            return self.encoder.embed_padded(ids, mask)
        vectors: Tensor = self.encoder(Tokens(ids[mask.bool()], mask.sum(dim=1)))
        return vectors


class TextWriter:
    """Keeps different texts; see `ItemWriter`.

    Args:
        folder: where the files go.
        tower: whose they are.
    """

    def __init__(self, folder: Path, tower: TextSide) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._tower = folder, tower
        self._texts = TextFile.writer(folder / "texts")
        self._numbers: dict[int, int] = {}

    def add(self, content: Any, location: str) -> int:
        """Keep a text, if an equal one is not there yet; see `ItemWriter.add`."""
        if not isinstance(content, str):
            raise RefusedItem("no text", type(content).__name__)
        if not content.strip():
            raise RefusedItem("empty text")
        key = text_key(content)
        if key not in self._numbers:
            self._numbers[key] = append_text(self._texts, content)
        return self._numbers[key]

    def finish(self, training: Ints) -> None:
        """Learn the vocabulary of the training texts, and turn all texts into tokens; see `ItemWriter.finish`."""
        self._texts.close()
        if not len(training):
            raise DataError("there is no text to train on: lower data.split, or leave this tower out")
        folder, texts = self._folder, TextFile(self._folder / "texts")
        frontend, settings = self._tower.fit(texts[number] for number in training.tolist())
        dropped = self._tower.settings.word_dropout > 0

        def blocks() -> Iterator[list[str]]:
            for first in range(0, len(texts), _AT_A_TIME):
                yield list(texts[first : first + _AT_A_TIME])

        tokens = TokenFile.write(
            folder / "tokens", (ids for block in blocks() for ids in frontend.encode(block, "document"))
        )
        if dropped:
            TokenFile.write(
                folder / "words", (words for block in blocks() for words in frontend.words(block, "document"))
            )
        counts = np.zeros(frontend.vocab_size, np.int64)
        for number in training.tolist():
            counts[np.unique(tokens[number])] += 1
        np.savez(folder / "texts.npz", keys=np.array(list(self._numbers), np.int64), share=counts / len(training))
        (folder / "tokenizer.json").write_bytes(frontend.to_bytes())
        # Last: its presence says that the items are whole.
        write_whole(folder / "texts.json", json.dumps(settings.model_dump(mode="json"), ensure_ascii=False))


@dataclass(frozen=True)
class TextItems:
    """The texts of a tower on disk; see `Items`.

    Attributes:
        frontend: what the manifest says.
        vocabulary: content of the tokenizer's file.
        keys: (n,) equal only for equal texts.
        document_share: (vocab_size,) share of the training texts with each token.
        texts: by number.
        tokens: of each text.
        words: which word of its text each token is of, -1 for those that always stay; None where no words are left out.
        word_dropout: share of the words that are left out in training.
    """

    frontend: TextSettings
    vocabulary: bytes
    keys: Ints
    document_share: npt.NDArray[np.float64]
    texts: TextFile
    tokens: TokenFile
    words: TokenFile | None
    word_dropout: float

    @classmethod
    def open(cls, folder: Path, word_dropout: float) -> TextItems:
        """Open what `TextWriter` left."""
        settings = TextSettings.model_validate_json((folder / "texts.json").read_bytes())
        with np.load(folder / "texts.npz") as arrays:
            keys, share = arrays["keys"], arrays["share"]
        return cls(
            settings,
            (folder / "tokenizer.json").read_bytes(),
            keys,
            share,
            TextFile(folder / "texts"),
            TokenFile(folder / "tokens"),
            TokenFile(folder / "words") if word_dropout > 0 else None,
            word_dropout,
        )

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def tokenizer(self) -> TextFrontend:
        """Text to token ids."""
        return TextFrontend.from_bytes(self.vocabulary, self.frontend)

    @property
    def files(self) -> Mapping[str, bytes]:
        """The vocabulary."""
        return {self.frontend.tokenizer: self.vocabulary}

    @property
    def counts(self) -> Mapping[str, int]:
        """What there is, for the manifest."""
        return {"texts": len(self), "vocabulary": self.tokenizer.vocab_size}

    def inputs(self, numbers: Ints, rng: np.random.Generator) -> Inputs:
        """Ids and mask (n, L) of texts, whose words may be left out; see `Items.inputs`."""
        return self._padded([self._drawn(number, rng) for number in numbers.tolist()])

    def _drawn(self, number: int, rng: np.random.Generator) -> Ids:
        ids = self.tokens[number]
        if self.words is None:
            return ids
        words = self.words[number]
        count = int(words.max(initial=-1)) + 1
        stays = rng.random(count + 1) >= self.word_dropout
        if count and not stays[:count].any():
            stays[rng.integers(count)] = True
        stays[-1] = True  # where the word is -1
        return ids[stays[words]]

    def seen(self, numbers: Ints, at_a_time: int) -> Iterator[tuple[Ints, Inputs]]:
        """Ids and mask of whole texts, those of like length together; see `Items.seen`."""
        rows = [self.tokens[number] for number in numbers.tolist()]
        order = np.argsort([len(ids) for ids in rows], kind="stable")
        for first in range(0, len(order), at_a_time):
            places = order[first : first + at_a_time]
            yield places, self._padded([rows[place] for place in places.tolist()])

    def _padded(self, rows: list[Ids]) -> Inputs:
        ids, mask = self.tokenizer.pad(rows)
        return torch.from_numpy(ids), torch.from_numpy(mask)

    def raw(self, numbers: Ints) -> list[Any]:
        """The texts; see `Items.raw`."""
        return [self.texts[number] for number in numbers.tolist()]
