"""The attack report of a bundle that tells identities apart: what templates give away, and who gets in who should not."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nearfar.progress import Stages, silent

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.bundle.manifest import Metric
    from nearfar.edge.encoder import Encoder
    from nearfar.evaluate.bootstrap import Interval
    from nearfar.road.people import People

    Vectors = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]
    Templates = npt.NDArray[np.int8]

_KEYS = 10  # templates of each identity, each with a key of its own, for unlinkability
_NON_MATED = 20_000
_CONTROL = 1_000  # samples by which the measure must see a link where all have one key
_NOISY = 400  # genuine samples that are made noisy, at most
_PAIRS, _STEPS = 32, 20  # of the white-box attack
_EPS = {"image": 8 / 255, "audio": 0.002}
_SNRS = (20.0, 10.0, 0.0)  # dB
_SIGMAS = (0.05, 0.1, 0.2)  # of pixels in [0, 1]

Gradients = Callable[[Any], Any]
"""The float model: a tensor of inputs of the graph (n, ...) in, vectors (n, d) out, differentiable."""


@dataclass(frozen=True)
class _Enrolled:
    """Identities with a template each, and samples that are left.

    Attributes:
        numbers: (N,) of identities, ascending.
        means: (N, d) unit rows that templates are made of.
        others: (N, d) unit rows of the samples that are left.
        probes: rows (p,) of the samples that are left, in the order of `probe_of`.
        probe_of: (p,) numbers of identities.
        same_session: (p,) whether the template has a sample of their session.
    """

    numbers: Ints
    means: Vectors
    others: Vectors
    probes: Ints
    probe_of: Ints
    same_session: npt.NDArray[np.bool_]


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

    from nearfar.bundle.manifest import Metric
    from nearfar.evaluate.labelled import embedded_units
    from nearfar.road.measure import Counted
    from nearfar.road.measure_identity import metric_of, trials_of

    tick = stages("attacking: templates", len(people.items))
    vectors = embedded_units(Counted(encoder, tick), people.items)
    enrolled = _enrol(vectors, people, samples, seed)
    if enrolled is None or len(enrolled.numbers) < 2:
        return {}
    trials = trials_of(vectors, people, samples, components, seed)
    if threshold is None:
        # A hundredth of the impostor trials passes: where no threshold ships, figures still need one.
        threshold = float(np.quantile(trials.impostor, 0.99, method="higher"))
    bench = _Bench(encoder, people, vectors, enrolled, components, threshold, resamples, seed)
    plain: dict[str, Any] = {"threshold": threshold, **bench.linked(), **bench.stolen_key(), **bench.inverted()}
    tick = stages("attacking: noise")
    plain |= bench.noisy(tick)
    if model is not None:
        stages("attacking: gradients")
        plain |= bench.adversarial(model)
    rows: dict[str, dict[str, Any]] = {"attacks": plain}
    if people.attributes:
        plain |= bench.leaked()
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


def _enrol(vectors: Vectors, people: People, samples: int, seed: int) -> _Enrolled | None:
    """Everyone who has more samples than a template is made of; None where nobody does."""
    import numpy as np

    rng = np.random.default_rng([seed, 12])
    numbers, means, others, probes, same = [], [], [], [], []
    for label in np.unique(people.labels):
        own = rng.permutation(np.flatnonzero(people.labels == label))
        if len(own) <= samples:
            continue
        chosen, left = own[:samples], np.sort(own[samples:])
        numbers.append(int(label))
        means.append(vectors[chosen].mean(axis=0))
        others.append(vectors[left].mean(axis=0))
        probes.append(left)
        same.append(np.isin(people.sessions[left], people.sessions[chosen]))
    if not numbers:
        return None
    rows = np.concatenate(probes)
    return _Enrolled(
        np.array(numbers, np.int64), _units(means), _units(others), rows, people.labels[rows], np.concatenate(same)
    )


def _units(rows: list[Any]) -> Vectors:
    import numpy as np

    stacked = np.stack(rows).astype(np.float32)
    return np.asarray(stacked / np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), 1e-12), dtype=np.float32)


class _Bench:
    """Attacks on the same templates at the same threshold."""

    def __init__(
        self,
        encoder: Encoder,
        people: People,
        vectors: Vectors,
        enrolled: _Enrolled,
        components: int,
        threshold: float,
        resamples: int,
        seed: int,
    ) -> None:
        self.encoder, self.people, self.vectors, self.enrolled = encoder, people, vectors, enrolled
        self.components, self.threshold, self.resamples, self.seed = components, threshold, max(1, resamples), seed

    def _transform(self, identity: int, key: int) -> Any:
        from nearfar.edge.verify.transform import KeyedTransform

        secret = hashlib.sha256(f"attacks {self.seed} {identity} {key}".encode()).digest()
        return KeyedTransform(secret, self.vectors.shape[1], self.components)

    def _templates(self, means: Vectors, key: int) -> Templates:
        """A template (L,) of each mean, all with keys of their own."""
        import numpy as np

        from nearfar.edge.verify.template import make_template

        numbers = self.enrolled.numbers.tolist()
        made = [make_template(mean[None], self._transform(n, key)) for n, mean in zip(numbers, means, strict=True)]
        return np.stack(made)

    def linked(self) -> dict[str, float]:
        """D_sys of templates of the same samples with different keys, its null, and what it is with one key for all."""
        import numpy as np

        from nearfar.edge.verify.template import make_template
        from nearfar.evaluate.stress import d_sys, unlinkability

        keyed = np.stack([self._templates(self.enrolled.means, key) for key in range(_KEYS)], axis=1)  # (N, keys, L)
        units = keyed / np.linalg.norm(keyed.astype(np.float64), axis=2, keepdims=True)
        first, second = np.triu_indices(_KEYS, 1)
        mated = np.einsum("npl,npl->np", units[:, first], units[:, second]).ravel()
        rng = np.random.default_rng([self.seed, 13])
        count = len(self.enrolled.numbers)
        one = rng.integers(count, size=_NON_MATED)
        other = (one + rng.integers(1, count, size=_NON_MATED)) % count
        keys = rng.integers(_KEYS, size=_NON_MATED), rng.integers(_KEYS, size=_NON_MATED)
        non_mated = np.einsum("nl,nl->n", units[one, keys[0]], units[other, keys[1]])
        found = unlinkability(mated, non_mated, seed=self.seed)
        # The control: with one key for all, and even from other samples, the same measure must see the link.
        shared = self._transform(-1, 0)
        chosen = self._some(_CONTROL, rng)
        here = np.stack([make_template(mean[None], shared) for mean in self.enrolled.means]).astype(np.float64)
        samples = self.vectors[self.enrolled.probes[chosen]]
        there = np.stack([make_template(sample[None], shared) for sample in samples]).astype(np.float64)
        cosines = (there / np.linalg.norm(there, axis=1, keepdims=True)) @ (
            here / np.linalg.norm(here, axis=1, keepdims=True)
        ).T
        own = self.enrolled.probe_of[chosen][:, None] == self.enrolled.numbers[None]
        reused = d_sys(cosines[own], cosines[~own])
        return {
            "unlinkability": found.d_sys,
            "unlinkability_null": found.null,
            "unlinkability_null_95": found.null_95,
            "unlinkability_one_key": reused,
        }

    def stolen_key(self) -> dict[str, Interval]:
        """Equal error rates of impostors with the victim's key, and with their own only."""
        from nearfar.evaluate.identity_bootstrap import verification_intervals
        from nearfar.evaluate.stress import keyed_trials

        enrolled = self.enrolled
        both = keyed_trials(
            self._templates(enrolled.means, 0),
            enrolled.numbers,
            self.vectors[enrolled.probes],
            enrolled.probe_of,
            enrolled.same_session,
            lambda identity, vectors: self._transform(identity, 0).apply(vectors),
        )
        return {
            name: verification_intervals(trials, resamples=self.resamples, seed=self.seed)["eer"]
            for name, trials in (("stolen_key_eer", both.stolen_key), ("own_key_eer", both.own_key))
        }

    def inverted(self) -> dict[str, float]:
        """What stolen templates and their keys are worth, before and after renewal."""
        import numpy as np

        from nearfar.edge.verify.template import match_scores
        from nearfar.evaluate.stress import invert, measure_inversion

        enrolled = self.enrolled
        templates, renewed = self._templates(enrolled.means, 0), self._templates(enrolled.others, 1)
        base = np.eye(self.vectors.shape[1], dtype=np.float32)
        numbers = enrolled.numbers.tolist()
        inverted = np.concatenate(
            [
                invert(template[None], self._transform(number, 0).apply(base)[None])
                for number, template in zip(numbers, templates, strict=True)
            ]
        )
        again = np.stack([self._transform(n, 1).apply(row[None])[0] for n, row in zip(numbers, inverted, strict=True)])
        found = measure_inversion(
            inverted,
            enrolled.means,
            enrolled.others,
            renewed=match_scores(renewed, again),
            replayed=match_scores(renewed, templates.astype(np.float32)),
            threshold=self.threshold,
        )
        return {
            "inversion_cosine": found.cosine,
            "inversion_rematch": found.rematch,
            "inversion_after_renewal": found.after_revocation,
            "stolen_template_after_renewal": found.replayed,
        }

    def noisy(self, tick: Callable[[int], None]) -> dict[str, Interval]:
        """False non-match rate by noise on the samples, at the threshold as it stands."""
        import numpy as np

        from nearfar.evaluate.stress import fnmr_by_noise

        chosen = self._some(_NOISY, np.random.default_rng([self.seed, 14]))
        rows, owners = self.enrolled.probes[chosen], self.enrolled.probe_of[chosen]
        clean = [self._prepared(int(row)) for row in rows]
        sound = self._kind == "audio"

        def scores(level: float) -> npt.NDArray[np.float64]:
            rng = np.random.default_rng([self.seed, 15])  # the same noise at every level, only louder
            changed = []
            for item in clean:
                deviation = float(np.sqrt(np.mean(np.square(item)))) * 10 ** (-level / 20) if sound else level
                noise = rng.standard_normal(item.shape).astype(np.float32) * np.float32(deviation)
                changed.append((item + noise).clip(-1 if sound else 0, 1).astype(np.float32))
            found = self._scores(self.encoder.embed(changed), owners)
            tick(len(changed))
            return found

        levels = _SNRS if sound else _SIGMAS
        rates = fnmr_by_noise(levels, scores, owners, self.threshold, resamples=self.resamples, seed=self.seed)
        names = [f"fnmr_snr_{level:.0f}" if sound else f"fnmr_noise_{100 * level:02.0f}" for level in levels]
        return {name: rate.fnmr for name, rate in zip(names, rates, strict=True)}

    def adversarial(self, model: Gradients) -> dict[str, float]:
        """White-box changes of samples: how many pass as somebody else, or as nobody, by the float model and by the bundle."""
        import numpy as np

        rng = np.random.default_rng([self.seed, 16])
        enrolled = self.enrolled
        chosen = self._some(_PAIRS, rng)
        own = np.searchsorted(enrolled.numbers, enrolled.probe_of[chosen])
        victims = (own + rng.integers(1, len(enrolled.numbers), size=len(chosen))) % len(enrolled.numbers)
        clean = [self._prepared(int(row)) for row in enrolled.probes[chosen]]
        eps, sound = _EPS[self._kind], self._kind == "audio"
        noise = [
            (item + rng.uniform(-eps, eps, item.shape)).clip(-1 if sound else 0, 1).astype(np.float32) for item in clean
        ]
        unchanged = self.encoder.embed(clean)
        found: dict[str, float] = {"pgd_eps": eps}
        for goal, places, passes in (("impersonate", victims, False), ("evade", own, True)):
            targets = enrolled.numbers[places]
            before = self._scores(unchanged, targets) >= self.threshold
            # Who passes already needs no attack, and who is turned away already cannot evade.
            open_to = before == passes
            if not open_to.any():
                continue
            changed = self._pgd(model, clean, enrolled.means[places], goal, eps)
            name = "pgd_success" if goal == "impersonate" else "pgd_evasion"
            for suffix, embedded in (
                ("", self.encoder.embed(changed)),
                ("_model", self._by_model(model, changed)),
                ("_noise", self.encoder.embed(noise)),
            ):
                after = self._scores(embedded, targets) >= self.threshold
                found[name + suffix] = float(np.mean((after != before)[open_to]))
        return found

    def leaked(self) -> dict[str, Any]:
        """What a linear probe reads of the attribute, beside always saying the same."""
        from nearfar.errors import DataError
        from nearfar.evaluate.stress import attribute_leak

        try:
            found = attribute_leak(
                self.vectors, self.people.labels, self.people.attributes, resamples=self.resamples, seed=self.seed
            )
        except DataError:
            return {}
        return {"attribute_accuracy": found.accuracy, "attribute_base": found.base}

    @property
    def _kind(self) -> str:
        return self.encoder.bundle.manifest.frontend.kind

    def _some(self, count: int, rng: np.random.Generator) -> Ints:
        """Places of so many probes, drawn by chance, in the order in which their source is read."""
        import numpy as np

        places = rng.permutation(len(self.enrolled.probes))[:count]
        return places[np.argsort(self.enrolled.probes[places])]

    def _prepared(self, row: int) -> Any:
        """A sample as the encoder takes it after all that the frontend does: (h, w, c) in [0, 1], or (t,) in [-1, 1]."""
        from nearfar.frontend.image import ImageFrontend, scaled

        frontend: Any = self.encoder.frontend
        made = frontend.prepare(self.people.items[row])
        return scaled(made) if isinstance(frontend, ImageFrontend) else made

    def _scores(self, vectors: Vectors, identities: Ints) -> npt.NDArray[np.float64]:
        """Score of each vector against the template of an identity."""
        import numpy as np

        from nearfar.edge.verify.template import match_scores

        templates = self._templates(self.enrolled.means, 0)
        places = np.searchsorted(self.enrolled.numbers, identities)
        probes = np.empty((len(vectors), self.components), np.float32)
        for identity in np.unique(identities):
            mine = identities == identity
            probes[mine] = self._transform(int(identity), 0).apply(vectors[mine])
        return match_scores(templates[places], probes).astype(np.float64)

    def _pgd(self, model: Gradients, clean: list[Any], targets: Vectors, goal: Any, eps: float) -> list[Any]:
        import torch

        from nearfar.learn.attack import pgd

        bounds = (-1.0, 1.0) if self._kind == "audio" else (0.0, 1.0)
        changed = []
        for item, target in zip(clean, targets, strict=True):  # one by one: recordings differ in length
            inputs = torch.from_numpy(_as_input(item))
            aim = torch.from_numpy(target)[None]
            found = pgd(model, inputs, aim, goal=goal, eps=eps, steps=_STEPS, bounds=bounds, seed=self.seed)
            changed.append(_as_item(found.numpy()))
        return changed

    def _by_model(self, model: Gradients, items: list[Any]) -> Vectors:
        import torch

        with torch.no_grad():
            return _units([model(torch.from_numpy(_as_input(item)))[0].numpy() for item in items])


def _as_input(item: Any) -> Any:
    """A prepared item as an input of the graph: (1, c, h, w) or (1, t)."""
    import numpy as np

    return np.ascontiguousarray(item.transpose(2, 0, 1) if item.ndim == 3 else item, dtype=np.float32)[None]


def _as_item(inputs: Any) -> Any:
    """The only one of some inputs of the graph as an item: (h, w, c) or (t,)."""
    import numpy as np

    return np.ascontiguousarray(inputs[0].transpose(1, 2, 0) if inputs.ndim == 4 else inputs[0])


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
