"""What is held out of pictures and recordings: the split they came with, or one that is drawn; identities stay whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.learn.data.split import DROPPED, SIDES, TEST, TRAIN, VALIDATION, sides_by_component, sides_by_group
from nearfar.learn.data.textfile import text_key
from nearfar.recipe.data import Split

Ints = npt.NDArray[np.int64]
Sides = npt.NDArray[np.int8]

_NAMED = 3  # identities in a message


def sides_of(
    *,
    keys: Ints,
    labels: Sequence[str],
    splits: Sequence[str],
    groups: Sequence[str],
    split: Split,
    identity: bool,
    seed: int,
    kind: str,
) -> Sides:
    """Side of each item: that which it came with, else drawn; items of equal content are on one side.

    What a source that tells its training items apart does not have (validation, test) is drawn from these. What is held out is
    not trained on under another name, whatever the source says: such copies are dropped, and the source's own test set stays what
    it is. Where identities are learned, copies of one content under two of them are dropped as well, as nobody can say whose they
    are, and so is what has no label.

    Args:
        keys: (n,) of the content of each item.
        labels: who or what each is; empty where that is unknown.
        splits: `train`, `validation`, `test`, or anything else for none.
        groups: what each belongs together with; empty for nothing.
        split: the recipe's rule.
        identity: whether labels are identities, which `split.identities: unseen` keeps whole.
        seed: of what is drawn.
        kind: of the source, for messages.

    Returns:
        int8 (n,) of TRAIN, VALIDATION, TEST, DROPPED.

    Raises:
        DataError: a split by group without groups, or an identity on two sides.
    """
    given = np.array([SIDES.get(name, -1) for name in splits], np.int8)
    names = np.array([text_key(label) for label in labels], np.int64)
    whole = _groups(groups, keys, kind) if split.by == "group" else names

    def drawn(some: npt.NDArray[np.bool_], validation: float, test: float) -> Sides:
        if split.by == "random":
            return sides_by_component(keys[some], validation, test, seed)
        by = sides_by_identity if split.by == "identity" else sides_by_group
        return by(whole[some].tolist(), validation, test, seed)

    side = given.copy()
    if identity:
        side[_of_nobody(keys, names)] = DROPPED
        given = side.copy()
    whole_identities = identity and split.identities == "unseen"
    if whole_identities:  # before anything is drawn, so that the message says what the source does
        _refuse_leaks(np.where(given < 0, DROPPED, given).astype(np.int8), labels, split)
    side[given < 0] = drawn(given < 0, split.validation, split.test)
    shares = {VALIDATION: split.validation, TEST: split.test}
    lacking = [0.0 if (given == held_out).any() else share for held_out, share in shares.items()]
    side[given == TRAIN] = drawn(given == TRAIN, *lacking)
    side[(side == VALIDATION) & np.isin(keys, keys[side == TEST])] = DROPPED
    side[(side == TRAIN) & np.isin(keys, keys[(side == VALIDATION) | (side == TEST)])] = DROPPED
    if whole_identities:
        _refuse_leaks(side, labels, split)
    return side


def sides_by_identity(identities: Sequence[int], validation: float, test: float, seed: int) -> Sides:
    """Side of each item so that whole identities stay together and the shares are met as nearly as these allow.

    Error rates need people that training has not seen, impostors among them: of four identities and more at least one goes to each
    side that is asked for, of eight and more at least two.

    Args:
        identities: (n,) a number for each.
        validation: share held out for validation.
        test: share held out for testing.
        seed: the recipe's seed.

    Returns:
        int8 (n,) of TRAIN, VALIDATION, TEST.
    """
    side = sides_by_group(identities, validation, test, seed)
    numbers = np.asarray(identities, np.int64)
    names = np.unique(numbers)
    least = 2 if len(names) >= 8 else 1 if len(names) >= 4 else 0
    order = np.random.default_rng([seed, 8]).permutation(names)
    for held_out, share in ((TEST, test), (VALIDATION, validation)):
        lacking = least - len(np.unique(numbers[side == held_out])) if share > 0 else 0
        trained = order[np.isin(order, numbers[side == TRAIN])]
        side[np.isin(numbers, trained[: max(0, lacking)])] = held_out
    return side


def _of_nobody(keys: Ints, names: Ints) -> npt.NDArray[np.bool_]:
    """(n,) items without a label, and those whose content another identity has as well."""
    pairs = np.unique(np.stack([keys, names], axis=1), axis=0)
    found, counts = np.unique(pairs[:, 0], return_counts=True)
    nobody: npt.NDArray[np.bool_] = np.isin(keys, found[counts > 1]) | (names == text_key(""))
    return nobody


def _refuse_leaks(side: Sides, labels: Sequence[str], split: Split) -> None:
    """Raise a DataError where an identity is on two sides."""
    counts: dict[str, dict[int, int]] = {}
    for label, of in zip(labels, side.tolist(), strict=True):
        if of != DROPPED:
            lies = counts.setdefault(label, {})
            lies[of] = lies.get(of, 0) + 1
    torn = {label: lies for label, lies in counts.items() if len(lies) > 1}
    if not torn:
        return
    called = {number: name for name, number in SIDES.items()}
    named = "; ".join(
        f"{label} ({', '.join(f'{lies[number]} in {called[number]}' for number in sorted(lies))})"
        for label, lies in list(torn.items())[:_NAMED]
    )
    mend = (
        "give all samples of an identity the same split in the source"
        if split.by == "identity"
        else f"give all samples of an identity the same split (or {split.by}) in the source, leave data.split.by out"
    )
    more = f" and {len(torn) - _NAMED} more" if len(torn) > _NAMED else ""
    raise DataError(
        f"{len(torn)} of {len(counts)} identities lie on two sides of the split: {named}{more}. Error rates would be those of people that "
        f"the encoder was trained on: {mend}, or set data.split.identities to seen if the device will only ever know these"
    )


def _groups(groups: Sequence[str], keys: Ints, kind: str) -> Ints:
    """The group of each item; one that has none is a group of its own."""
    nothing = text_key("")
    named = np.array([text_key(group) for group in groups], np.int64)
    if (named == nothing).all():
        raise DataError(
            f"data.split.by is group, but nothing in the {kind} source has a group: put what belongs together "
            "into a folder (below that of its label, if there are labels), name data.source.columns.group of a table, or set "
            "data.split.by to random"
        )
    return np.where(named == nothing, keys, named)
