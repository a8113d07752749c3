"""The attack report of a bundle that tells identities apart: what templates give away, and who gets in who should not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nearfar.progress import Stages, silent

if TYPE_CHECKING:
    from nearfar.bundle.block import Metric
    from nearfar.edge.encoder import Encoder
    from nearfar.road.attack_bench import Bench
    from nearfar.road.attack_samples import Gradients
    from nearfar.road.people import People


def attack_identity(
    encoder: Encoder,
    people: People,
    *,
    samples: int,
    components: int,
    threshold: float | None,
    model: Gradients | None = None,
    resamples: int = 1000,
    seed: int = 0,
    stages: Stages = silent,
) -> dict[str, dict[str, Metric]]:
    """Attack templates, samples and the encoder itself.

    Scores are cosines; a bundle that normalises them is attacked without, as what that changes is the threshold.

    Args:
        encoder: of the bundle, as on the device.
        people: who is enrolled and attacked; none of them was trained on.
        samples: that a template is made of.
        components: of a template.
        threshold: least cosine of a match; None takes that of a false match rate of 1 % among these people.
        model: the float model, for the white-box attack; None leaves that out.
        resamples: of the intervals.
        seed: of keys, noise and starting points.
        stages: told what is being done.

    Returns:
        Row `attacks`, and a row `group NAME` for each value of an attribute; nothing where nobody can be enrolled.

    Raises:
        DataError: a sample is no longer where it was.
    """
    import numpy as np

    from nearfar.bundle.block import Metric
    from nearfar.evaluate.labelled import embedded_units
    from nearfar.road.attack_bench import Bench, enrol
    from nearfar.road.attack_samples import adversarial, noisy
    from nearfar.road.attack_templates import inverted, linked, stolen_key
    from nearfar.road.measure import Counted
    from nearfar.road.measure_identity import metric_of, trials_of

    tick = stages("attacking: templates", len(people.items))
    vectors = embedded_units(Counted(encoder, tick), people.items)
    enrolled = enrol(vectors, people, samples, seed)
    if enrolled is None or len(enrolled.numbers) < 2:
        return {}
    trials = trials_of(vectors, people, samples, components, seed)
    if threshold is None:
        # A hundredth of the impostor trials passes: where no threshold ships, figures still need one.
        threshold = float(np.quantile(trials.impostor, 0.99, method="higher"))
    bench = Bench(encoder, people, vectors, enrolled, components, threshold, resamples, seed)
    plain: dict[str, Any] = {"threshold": threshold, **linked(bench), **stolen_key(bench), **inverted(bench)}
    tick = stages("attacking: noise")
    plain |= noisy(bench, tick)
    if model is not None:
        stages("attacking: gradients")
        plain |= adversarial(bench, model)
    rows: dict[str, dict[str, Any]] = {"attacks": plain}
    if people.attributes:
        plain |= _leaked(bench)
        ratios, groups = _groups(trials, people, threshold)
        plain |= ratios
        rows |= groups
    return {
        row: {
            name: Metric(value=float(value)) if isinstance(value, (int, float)) else metric_of(value)
            for name, value in figures.items()
        }
        for row, figures in rows.items()
    }


def _leaked(bench: Bench) -> dict[str, Any]:
    """What a linear probe reads of the attribute, beside always saying the same."""
    from nearfar.errors import DataError
    from nearfar.evaluate.stress import attribute_leak

    try:
        found = attribute_leak(
            bench.vectors, bench.people.labels, bench.people.attributes, resamples=bench.resamples, seed=bench.seed
        )
    except DataError:
        return {}
    return {"attribute_accuracy": found.accuracy, "attribute_base": found.base}


def _groups(trials: Any, people: People, threshold: float) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:
    """How unequal error rates are over the values of an attribute, and a row of figures for each."""
    from nearfar.evaluate.stress import group_rates, max_ratio

    found = group_rates(trials, people.attribute_of(), threshold)
    ratios = {
        f"{name}_group_max_ratio": ratio
        for name in ("fmr", "fnmr")
        if (ratio := max_ratio(getattr(one, name) for one in found)) is not None
    }
    rows: dict[str, dict[str, Any]] = {}
    for one in found:
        name = re.sub(r"[^\w .:+-]", " ", one.group)
        rows[f"group {name}"] = {"fmr": one.fmr, "fnmr": one.fnmr, "identities": one.identities}
    return ratios, rows
