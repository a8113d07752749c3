"""The actions of a run on disk: who acted on what, when, how much it counts, and on which side of the split it lies."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.frontend.settings import EventsSettings
from nearfar.learn.data.whole import write_whole

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ActionCounts:
    """What the corpus holds.

    Attributes:
        users: with a history.
        items: that can be recommended.
        cold: of these, items that too few acted on to have a vector of their own: known by their content alone.
        actions: of positive weight that were kept, on all sides.
        train: of these, on the side of training; `validation` and `test` likewise.
        impressions: rows of weight 0 that were kept, or of positive weight with a propensity.
        fingerprint: digest of all that is learned from.
        dropped: rule -> how many events it took out.
        skipped: reason -> rows that could not be read.
        examples: the first few of those.
        misses: held-out actions on what is no item here; not among the actions.
    """

    users: int
    items: int
    cold: int
    actions: int
    train: int
    validation: int
    test: int
    impressions: int
    fingerprint: str
    dropped: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    misses: int = 0


@dataclass(frozen=True)
class Impressions:
    """What was shown, and whether it was acted on.

    Attributes:
        items: int64 (m,).
        histories: int64 (m, 2), begin and end of what the user did before, in the actions of the corpus; an empty range where nothing
            is known.
        now: float64 (m,).
        acted: float32 (m,), 1 where it was acted on with positive weight, else 0.
        propensities: float32 (m,), how likely it was to be shown; 1 where the log does not say.
        side: int8 (m,), TRAIN, VALIDATION or TEST.
        values: float32 (m, F), codes: int64 (m, F): the context as a TableFrontend gives it; F is 0 without.
    """

    items: Ints
    histories: Ints
    now: npt.NDArray[np.float64]
    acted: Floats
    propensities: Floats
    side: npt.NDArray[np.int8]
    values: Floats
    codes: Ints


@dataclass(frozen=True)
class Misses:
    """Held-out actions on what cannot be recommended: nobody had acted on it before, and nothing is known of it.

    Attributes:
        users: int64 (m,), whose.
        ends: int64 (m,), where their history ends, in the actions of the corpus.
        times: float64 (m,).
        side: int8 (m,), VALIDATION or TEST.
    """

    users: Ints
    ends: Ints
    times: npt.NDArray[np.float64]
    side: npt.NDArray[np.int8]

    @classmethod
    def none(cls) -> Misses:
        """Where every held-out action is on an item that can be recommended."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int8))


@dataclass(frozen=True)
class Content:
    """What is known of the items.

    Attributes:
        offsets: int64 (items + 1,): item i has `tokens[offsets[i]:offsets[i + 1]]`.
        tokens: int64 (t,), words and categories by their place in `vocabulary`.
        vocabulary: of the tokens, such as `genre=Drama` or `word=night`.
        numbers: float32 (items, p), scaled; two columns for each of `scales`: the number, 0 where it is missing, and 1 where it is.
        vectors: float32 (items, q), embeddings of picture and text by other bundles, unit rows side by side; q is 0 without.
        scales: column of numbers -> mean and standard deviation of the items.
    """

    offsets: Ints
    tokens: Ints
    vocabulary: list[str]
    numbers: Floats
    vectors: Floats
    scales: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class ActionCorpus:
    """Actions by user and time.

    User u has the actions `offsets[u]` to `offsets[u + 1]`, oldest first; equal times keep the order of the log.

    Attributes:
        offsets: int64 (users + 1,).
        items: int64 (e,), numbers of items.
        times: float64 (e,), seconds since 1970.
        weights: float32 (e,), above 0.
        side: int8 (e,), TRAIN, VALIDATION or TEST: what each action may be a target of, or DROPPED for none. A history holds every
            earlier action of its user, these too.
        values: float32 (e, F), codes: int64 (e, F): the context of each action; F is 0 without.
        names: of the items, by number: those with a vector of their own come first, then `counts.cold` that are known by their content
            alone; each the most popular in training first.
        facts: of each item, title under `title` and columns under their names; empty mappings without a table of items.
        content: None without a table of items.
        impressions: None where the log has none.
        settings: of the frontend, as on the device.
        counts: how many of everything.
        misses: held-out actions on what is no item here.
    """

    offsets: Ints
    items: Ints
    times: npt.NDArray[np.float64]
    weights: Floats
    side: npt.NDArray[np.int8]
    values: Floats
    codes: Ints
    names: list[str]
    facts: list[dict[str, object]]
    content: Content | None
    impressions: Impressions | None
    settings: EventsSettings
    counts: ActionCounts
    misses: Misses = field(default_factory=Misses.none)

    @property
    def warm(self) -> int:
        """How many items, the first ones, have a vector of their own."""
        return len(self.names) - self.counts.cold

    def digest(self) -> str:
        """SHA-256 of all that is learned from: arrays, names and content, not the counts."""
        digest = hashlib.sha256()
        for name, array in sorted(_arrays(self).items()):
            digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        vocabulary = self.content.vocabulary if self.content is not None else []
        digest.update(json.dumps([self.names, vocabulary]).encode())
        return digest.hexdigest()

    def save(self, directory: Path) -> None:
        """Write it to a folder, whole or not at all."""
        directory.mkdir(parents=True, exist_ok=True)
        np.savez(directory / "actions.npz", **_arrays(self))  # type: ignore[arg-type]
        texts = {
            "names": self.names,
            "facts": self.facts,
            "vocabulary": self.content.vocabulary if self.content is not None else [],
            "scales": self.content.scales if self.content is not None else {},
            "settings": self.settings.model_dump(mode="json"),
            "counts": asdict(self.counts),
        }
        # Last: its presence says that the corpus is whole.
        write_whole(directory / WHOLE, json.dumps(texts, ensure_ascii=False))

    @classmethod
    def open(cls, directory: Path) -> ActionCorpus:
        """Open what `save` wrote."""
        texts = json.loads((directory / WHOLE).read_text("utf-8"))
        with np.load(directory / "actions.npz") as file:
            arrays = {name: file[name] for name in file.files}

        def part(prefix: str) -> dict[str, Any]:
            return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

        content, impressions = part("content."), part("impressions.")
        scales = {name: (centre, spread) for name, (centre, spread) in texts["scales"].items()}
        return cls(
            **part("own."),
            names=texts["names"],
            facts=texts["facts"],
            misses=Misses(**part("misses.")),
            content=Content(**content, vocabulary=texts["vocabulary"], scales=scales) if content else None,
            impressions=Impressions(**impressions) if impressions else None,
            settings=EventsSettings.model_validate(texts["settings"]),
            counts=ActionCounts(**texts["counts"]),
        )

    def fingerprinted(self) -> ActionCorpus:
        """The same, with its digest among the counts."""
        return replace(self, counts=replace(self.counts, fingerprint=self.digest()))


WHOLE = "actions.json"
"""The file whose presence says that a corpus is whole."""


def _arrays(corpus: ActionCorpus) -> dict[str, npt.NDArray[Any]]:
    """All arrays of a corpus by the name that they are stored under."""
    parts: list[tuple[str, ActionCorpus | Misses | Content | Impressions | None]] = [
        ("own", corpus),
        ("misses", corpus.misses),
        ("content", corpus.content),
        ("impressions", corpus.impressions),
    ]
    return {
        f"{prefix}.{field.name}": value
        for prefix, part in parts
        if part is not None
        for field in fields(part)
        if isinstance(value := getattr(part, field.name), np.ndarray)
    }
