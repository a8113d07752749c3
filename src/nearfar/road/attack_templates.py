"""Attacks on templates: whether they can be linked, what a stolen key is worth, and what they give away with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nearfar.evaluate.bootstrap import Interval
    from nearfar.road.attack_bench import Bench

_KEYS = 10  # templates of each identity, each with a key of its own, for unlinkability
_NON_MATED = 20_000
_CONTROL = 1_000  # samples by which the measure must see a link where all have one key


def linked(bench: Bench) -> dict[str, float]:
    """D_sys of templates of the same samples with different keys, its null, and what it is with one key for all."""
    import numpy as np

    from nearfar.edge.verify.template import make_template
    from nearfar.evaluate.stress import d_sys, unlinkability

    keyed = np.stack([bench.templates(bench.enrolled.means, key) for key in range(_KEYS)], axis=1)  # (N, keys, L)
    units = keyed / np.linalg.norm(keyed.astype(np.float64), axis=2, keepdims=True)
    first, second = np.triu_indices(_KEYS, 1)
    mated = np.einsum("npl,npl->np", units[:, first], units[:, second]).ravel()
    rng = np.random.default_rng([bench.seed, 13])
    count = len(bench.enrolled.numbers)
    one = rng.integers(count, size=_NON_MATED)
    other = (one + rng.integers(1, count, size=_NON_MATED)) % count
    keys = rng.integers(_KEYS, size=_NON_MATED), rng.integers(_KEYS, size=_NON_MATED)
    non_mated = np.einsum("nl,nl->n", units[one, keys[0]], units[other, keys[1]])
    found = unlinkability(mated, non_mated, seed=bench.seed)
    # The control: with one key for all, and even from other samples, the same measure must see the link.
    shared = bench.transform(-1, 0)
    chosen = bench.some(_CONTROL, rng)
    here = np.stack([make_template(mean[None], shared) for mean in bench.enrolled.means]).astype(np.float64)
    samples = bench.vectors[bench.enrolled.probes[chosen]]
    there = np.stack([make_template(sample[None], shared) for sample in samples]).astype(np.float64)
    cosines = (there / np.linalg.norm(there, axis=1, keepdims=True)) @ (
        here / np.linalg.norm(here, axis=1, keepdims=True)
    ).T
    own = bench.enrolled.probe_of[chosen][:, None] == bench.enrolled.numbers[None]
    reused = d_sys(cosines[own], cosines[~own])
    return {
        "unlinkability": found.d_sys,
        "unlinkability_null": found.null,
        "unlinkability_null_95": found.null_95,
        "unlinkability_one_key": reused,
    }


def stolen_key(bench: Bench) -> dict[str, Interval]:
    """Equal error rates of impostors with the victim's key, and with their own only."""
    from nearfar.evaluate.identity_bootstrap import verification_intervals
    from nearfar.evaluate.stress import keyed_trials

    enrolled = bench.enrolled
    both = keyed_trials(
        bench.templates(enrolled.means, 0),
        enrolled.numbers,
        bench.vectors[enrolled.probes],
        enrolled.probe_of,
        enrolled.same_session,
        lambda identity, vectors: bench.transform(identity, 0).apply(vectors),
    )
    return {
        name: verification_intervals(trials, resamples=bench.resamples, seed=bench.seed)["eer"]
        for name, trials in (("stolen_key_eer", both.stolen_key), ("own_key_eer", both.own_key))
    }


def inverted(bench: Bench) -> dict[str, float]:
    """What stolen templates and their keys are worth, before and after renewal."""
    import numpy as np

    from nearfar.edge.verify.template import match_scores
    from nearfar.evaluate.stress import invert, measure_inversion

    enrolled = bench.enrolled
    templates, renewed = bench.templates(enrolled.means, 0), bench.templates(enrolled.others, 1)
    base = np.eye(bench.vectors.shape[1], dtype=np.float32)
    numbers = enrolled.numbers.tolist()
    inverted = np.concatenate(
        [
            invert(template[None], bench.transform(number, 0).apply(base)[None])
            for number, template in zip(numbers, templates, strict=True)
        ]
    )
    again = np.stack([bench.transform(n, 1).apply(row[None])[0] for n, row in zip(numbers, inverted, strict=True)])
    found = measure_inversion(
        inverted,
        enrolled.means,
        enrolled.others,
        renewed=match_scores(renewed, again),
        replayed=match_scores(renewed, templates.astype(np.float32)),
        threshold=bench.threshold,
    )
    return {
        "inversion_cosine": found.cosine,
        "inversion_rematch": found.rematch,
        "inversion_after_renewal": found.after_revocation,
        "stolen_template_after_renewal": found.replayed,
    }
