"""The actions of a run on disk: who acted on what, when, how much it counts, and on which side of the split it lies."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from nearfar.frontend.settings import EventsSettings

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ActionCounts:
    """What the corpus holds.

    Attributes:
        users: with a history.
        items: that can be recommended.
        cold: of these, items that nobody acted on in training: known by their content alone.
        actions: of positive weight that were kept, on all sides.
        train: of these, on the side of training; `validation` and `test` likewise.
        impressions: rows of weight 0 that were kept, or of positive weight with a propensity.
        fingerprint: digest of all that is learned from.
        dropped: rule -> how many events it took out.
        skipped: reason -> rows that could not be read.
        examples: the first few of those.
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
class Content:
    """What is known of the items.

    Attributes:
        offsets: int64 (items + 1,): item i has `tokens[offsets[i]:offsets[i + 1]]`.
        tokens: int64 (t,), words and categories by their place in `vocabulary`.
        vocabulary: of the tokens, such as `genre=Drama` or `word=night`.
        numbers: float32 (items, p), scaled; a missing one is 0, and said so by a column of its own.
        vectors: float32 (items, q), embeddings of picture and text by other bundles, unit rows side by side; q is 0 without.
    """

    offsets: Ints
    tokens: Ints
    vocabulary: list[str]
    numbers: Floats
    vectors: Floats


@dataclass(frozen=True)
class ActionCorpus:
    """Actions by user and time.

    User u has the actions `offsets[u]` to `offsets[u + 1]`, oldest first; equal times keep the order of the log.

    Attributes:
        offsets: int64 (users + 1,).
        items: int64 (e,), numbers of items.
        times: float64 (e,), seconds since 1970.
        weights: float32 (e,), above 0.
        side: int8 (e,), TRAIN, VALIDATION or TEST: what each action may be a target of. A history holds every earlier action of its user.
        values: float32 (e, F), codes: int64 (e, F): the context of each action; F is 0 without.
        names: of the items, by number; those with training actions come first, most popular first, then the cold ones.
        facts: of each item, title under `title` and columns under their names; empty mappings without a table of items.
        content: None without a table of items.
        impressions: None where the log has none.
        settings: of the frontend, as on the device.
        counts: how many of everything.
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
