"""Attacks on samples: noise, and changes that are made by the gradient of the encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.evaluate.bootstrap import Interval
    from nearfar.road.attack_bench import Bench

_NOISY = 400  # genuine samples that are made noisy, at most
_PAIRS = 32  # of the white-box attack
_STEPS = {"image": 20, "audio": 10}  # a step through a recording costs several through a picture
_EPS = {"image": 8 / 255, "audio": 0.002}
_SNRS = (20.0, 10.0, 0.0)  # dB
_SIGMAS = (0.05, 0.1, 0.2)  # of pixels in [0, 1]

Gradients = Callable[[Any], Any]
"""The float model: a tensor of inputs of the graph (n, ...) in, vectors (n, d) out, differentiable."""


def noisy(bench: Bench, tick: Callable[[int], None]) -> dict[str, Interval]:
    """False non-match rate by noise on the samples, at the threshold as it stands."""
    import numpy as np

    from nearfar.evaluate.stress import fnmr_by_noise

    chosen = bench.some(_NOISY, np.random.default_rng([bench.seed, 14]))
    rows, owners = bench.enrolled.probes[chosen], bench.enrolled.probe_of[chosen]
    clean = [bench.prepared(int(row)) for row in rows]
    sound = bench.kind == "audio"

    def scores(level: float) -> npt.NDArray[np.float64]:
        rng = np.random.default_rng([bench.seed, 15])  # the same noise at every level, only louder
        changed = []
        for item in clean:
            deviation = float(np.sqrt(np.mean(np.square(item)))) * 10 ** (-level / 20) if sound else level
            noise = rng.standard_normal(item.shape).astype(np.float32) * np.float32(deviation)
            changed.append((item + noise).clip(-1 if sound else 0, 1).astype(np.float32))
        found = bench.scores(bench.encoder.embed(changed), owners)
        tick(len(changed))
        return found

    levels = _SNRS if sound else _SIGMAS
    rates = fnmr_by_noise(levels, scores, owners, bench.threshold, resamples=bench.resamples, seed=bench.seed)
    names = [f"fnmr_snr_{level:.0f}" if sound else f"fnmr_noise_{100 * level:02.0f}" for level in levels]
    return {name: rate.fnmr for name, rate in zip(names, rates, strict=True)}


def adversarial(bench: Bench, model: Gradients) -> dict[str, float]:
    """White-box changes of samples: how many pass as somebody else, or as nobody, by the float model and by the bundle."""
    import numpy as np

    from nearfar.evaluate.pixels import at_unit_length
    from nearfar.learn.attack import Goal, attacked, embedded

    rng = np.random.default_rng([bench.seed, 16])
    enrolled = bench.enrolled
    chosen = bench.some(_PAIRS, rng)
    own = np.searchsorted(enrolled.numbers, enrolled.probe_of[chosen])
    victims = (own + rng.integers(1, len(enrolled.numbers), size=len(chosen))) % len(enrolled.numbers)
    clean = [bench.prepared(int(row)) for row in enrolled.probes[chosen]]
    eps, sound = _EPS[bench.kind], bench.kind == "audio"
    noise = [
        (item + rng.uniform(-eps, eps, item.shape)).clip(-1 if sound else 0, 1).astype(np.float32) for item in clean
    ]
    unchanged = bench.encoder.embed(clean)
    found: dict[str, float] = {"pgd_eps": eps}
    bounds = (-1.0, 1.0) if sound else (0.0, 1.0)
    goals: tuple[tuple[Goal, Any, bool], ...] = (("impersonate", victims, False), ("evade", own, True))
    for goal, places, passes in goals:
        targets = enrolled.numbers[places]
        before = bench.scores(unchanged, targets) >= bench.threshold
        # Who passes already needs no attack, and who is turned away already cannot evade.
        open_to = before == passes
        if not open_to.any():
            continue
        rows = np.flatnonzero(open_to)
        changed = attacked(
            model,
            [clean[row] for row in rows],
            enrolled.means[places[rows]],
            goal=goal,
            eps=eps,
            steps=_STEPS[bench.kind],
            bounds=bounds,
            seed=bench.seed,
        )
        name = "pgd_success" if goal == "impersonate" else "pgd_evasion"
        for suffix, vectors in (
            ("", bench.encoder.embed(changed)),
            ("_model", at_unit_length(embedded(model, changed))),
            ("_noise", bench.encoder.embed([noise[row] for row in rows])),
        ):
            after = bench.scores(vectors, targets[rows]) >= bench.threshold
            found[name + suffix] = float(np.mean(after != passes))
    return found
