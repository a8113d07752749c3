"""What is wrong with a training run, by the health of its embeddings: a sentence with the suspected cause and the mend.

The limits lie between what healthy and deliberately broken runs show on digits and CIFAR-10 (tests/evaluate/test_diagnose.py
has some of both). Healthy ones keep a std of 0.4 and more, save that BYOL's predictions dip to a third of what they were and
come back; broken ones fall under 0.1, or go on falling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from nearfar.evaluate.health import Health

FIRST_STEPS = 50
"""Nothing but divergence is said before: the first steps of healthy runs look like anything."""
SETTLED = 0.1
"""Share of the steps after which learning should show."""
EQUAL = 0.1
"""Std below which embeddings are as good as equal."""
FALLEN = 1 / 3
"""Share of the largest std so far that a collapse falls below."""
LOST = 0.08
"""Share of the largest effective rank so far that a loss of dimensions falls below."""
STILL = 0.08
"""Relative change of every figure since the first below which nothing was learned."""
UNRELATED = 0.9
"""Distance of two views of a picture, in distances of two pictures, above which views have nothing in common."""
COPIES, COPIES_RECALL = 0.1, 0.9
"""The same ratio before training below which views are as good as copies, if besides so many of them find each other."""

_RATE = "lower train.learning_rate or lengthen train.warmup"
_TEMPERATURE = "bring method.temperature to between 0.1 and 0.5"
_AGAINST_COLLAPSE = {
    "byol": f"{_RATE}, raise method.momentum so that the slow copy stays behind, and keep the predictor",
    "simsiam": f"{_RATE}, and keep the predictor and the stopped gradient",
    "barlow_twins": f"{_RATE}, or raise method.off_diagonal",
    "vicreg": f"raise method.variance beside method.invariance, or {_RATE}",
    "triplet": f"{_RATE}, or set method.mine to semi_hard: the hardest triplets of an untrained encoder pull everything to one place",
    "swav": f"{_RATE}, raise method.freeze_prototypes, lower method.epsilon, and use no more prototypes than pictures a step",
}
_AGAINST_LOSS = {
    "byol": f"{_RATE}, or raise method.momentum",
    "simsiam": f"{_RATE}, or widen method.projector",
    "barlow_twins": f"raise method.off_diagonal, or {_RATE}",
    "vicreg": f"raise method.covariance and method.variance beside method.invariance, or {_RATE}",
    "swav": f"lower method.epsilon, raise method.freeze_prototypes, or {_RATE}",
}
_OF_CLASSES = ("classifier", "arc_face")
"""Told apart by fixed places: where all embeddings are equal the loss is that of chance, so they do not stay so. ArcFace's do draw
together at first, and part again."""
_BY_LABELS = ("sup_con", "classifier", "arc_face", "triplet")


def diagnose(
    features: Sequence[Health], compared: Sequence[Health] = (), *, method: str, total_steps: int
) -> str | None:
    """Say what looks wrong with a run, or nothing.

    Args:
        features: health of what the encoder gives, at some steps of one run in ascending order, all from batches of one size
            in training mode; the first from before the first step.
        compared: at the same steps, health of what the loss compares: projections, predictions or queries. Collapse shows
            there first, and where the encoder has BatchNorm often there alone.
        method: `method.kind` of the recipe; decides what is suspected.
        total_steps: how many steps the run is to have.

    Returns:
        What is seen, what is suspected and what to change; None where nothing looks wrong.
    """
    if not features:
        return None
    main = compared or features
    if not (math.isfinite(features[-1].embedding_std) and math.isfinite(main[-1].embedding_std)):
        return _diverged(main[-1])
    if main[-1].step < FIRST_STEPS or len(main) < 3 or method in _OF_CLASSES:
        return None
    found = None
    if main[-1].step >= SETTLED * total_steps:
        found = _still(main) or _views_too_strong(main, method) or _equal_from_the_start(main, method)
    found = found or _views_too_weak(features, method) or _collapsed(main, method)
    return found or _lost_dimensions(main, method) or _lost_dimensions(features, method)


def _diverged(last: Health) -> str:
    return (
        f"Embeddings are no longer finite at step {last.step}: training has diverged. Lower train.learning_rate, set "
        "train.gradient_clip, or use bf16-mixed in place of 16-mixed."
    )


def _still(history: Sequence[Health]) -> str | None:
    first, last = history[0], history[-1]
    figures = [
        (getattr(first, name), getattr(last, name)) for name in ("embedding_std", "effective_rank", "uniformity")
    ]
    if math.isnan(_relative(last)):
        return None  # of a single view: how it is spread may stay while who is where changes
    figures.append((_relative(first), _relative(last)))
    if any(abs(after - before) > STILL * abs(before) for before, after in figures):
        return None
    return (
        f"Nothing has been learned by step {last.step}: embeddings are spread as they were before training. The learning rate is "
        "probably far too low, or the encoder is frozen: raise train.learning_rate."
    )


def _views_too_strong(history: Sequence[Health], method: str) -> str | None:
    if method in _BY_LABELS or not all(_relative(moment) >= UNRELATED for moment in history[-2:]):
        return None
    return (
        f"At step {history[-1].step} two views of a picture are as far apart as views of two pictures ({_relative(history[-1]):.2f} "
        "of their distance). The views are probably too strong to tell what they show: raise the smaller limit of "
        "views.crop.scale, weaken views.jitter, and look at them with `nearfar views`."
    )


def _views_too_weak(features: Sequence[Health], method: str) -> str | None:
    first = features[0]
    if method in _BY_LABELS or not (_relative(first) < COPIES and first.view_recall > COPIES_RECALL):
        return None
    return (
        f"Before any training {first.view_recall:.0%} of the views already found the other view of their picture: there is "
        "little to learn from them. The views are probably too weak: lower the smaller limit of views.crop.scale, "
        "strengthen views.jitter, and look at them with `nearfar views`."
    )


def _equal_from_the_start(history: Sequence[Health], method: str) -> str | None:
    first, last = history[0], history[-1]
    if max(first.embedding_std, last.embedding_std) >= EQUAL or last.embedding_std > 1.1 * first.embedding_std:
        return None
    return (
        f"All embeddings are almost equal, and still are at step {last.step} (std {last.embedding_std:.3f}, 1 is spread evenly). "
        f"Without BatchNorm they start so; for them to part, {_against_collapse(method)}."
    )


def _collapsed(history: Sequence[Health], method: str) -> str | None:
    stds = [moment.embedding_std for moment in history]
    fallen = stds[-1] < FALLEN * max(stds)
    equal = max(stds[-2:]) < EQUAL and stds[-1] < 1.1 * stds[-2]
    falling = stds[-3] > stds[-2] > stds[-1] and history[-3].step > 0
    if not (fallen and (equal or falling)):
        return None
    seen = "Embeddings have collapsed" if equal else "Embeddings are collapsing"
    return (
        f"{seen}: at step {history[-1].step} they are {'as good as' if equal else 'ever more'} equal (std {stds[-1]:.3f}, was "
        f"{max(stds):.3f}; 1 is spread evenly). To mend it, {_against_collapse(method)}."
    )


def _lost_dimensions(history: Sequence[Health], method: str) -> str | None:
    ranks = [moment.effective_rank for moment in history]
    limit = LOST * max(ranks)
    # Learning by labels leaves no more dimensions than there are labels, as it should.
    if method in _BY_LABELS or not (max(ranks[-2:]) < limit and ranks[-1] < 1.1 * ranks[-2]):
        return None
    mend = _AGAINST_LOSS.get(method, f"{_TEMPERATURE}, {_RATE}, or give each step more pictures")
    return (
        f"Embeddings use ever fewer dimensions: at step {history[-1].step} their effective rank is {ranks[-1]:.1f}, was "
        f"{max(ranks):.1f} (dimensional collapse). To mend it, {mend}."
    )


def _against_collapse(method: str) -> str:
    return _AGAINST_COLLAPSE.get(method, f"{_RATE}, or {_TEMPERATURE}")


def _relative(moment: Health) -> float:
    """Distance of two views of a picture, in distances of two pictures; nan where there is one view."""
    return moment.alignment / moment.distance if moment.distance > 0 else 1.0
