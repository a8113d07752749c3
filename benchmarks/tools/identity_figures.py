"""Figures of benchmarks/identity.py, from embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from nearfar.bundle import Bundle
from nearfar.edge import Encoder
from nearfar.edge.verify.trials import enrolment, verification_trials
from nearfar.embedder import Embedder
from nearfar.evaluate import Interval
from nearfar.evaluate.few_shot import one_shot_accuracy
from nearfar.evaluate.pixels import PixelEmbedder
from nearfar.evaluate.probe import linear_probe
from nearfar.evaluate.spectrum import SpectrumEmbedder
from nearfar.evaluate.verification import Trials, equal_error_rate
from nearfar.frontend import AudioFrontend, ImageFrontend
from nearfar.road.run import Run, training_wing
from tools.identity_sets import vectors_of
from tools.results import Figures, figure

COMPONENTS = 128
DRAWS = 10
EPISODES = 400

Vectors = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]
Rows = Sequence[Mapping[str, Any]]


def shares_found(run: Run, bundle: Bundle, trivial: str) -> dict[str, Embedder]:
    """The bundle, and what it is set beside.

    Args:
        run: that it comes from.
        bundle: what ships.
        trivial: `pixels` or `spectrum`.
    """
    encoder = Encoder.open(bundle)
    frontend = encoder.frontend
    plain: Embedder
    if trivial == "pixels":
        assert isinstance(frontend, ImageFrontend)
        plain = PixelEmbedder(frontend.encode, frontend.settings.channels * frontend.settings.size**2)
    else:
        assert isinstance(frontend, AudioFrontend)
        plain = SpectrumEmbedder(frontend)
    trained = training_wing().run.open_run(run.directory)
    return {"bundle": encoder, "model": trained.embedder(), "untrained": trained.untrained(), trivial: plain}


def trials(
    vectors: Vectors, rows: Rows, *, samples: int = 5, components: int = COMPONENTS, seed: int = 0, draws: int = DRAWS
) -> Trials:
    """Trials of all identities among some rows, through templates as a vault makes them; several templates of each."""
    labels, sessions = numbered(rows, "label"), numbered(rows, "session")
    return verification_trials(
        vectors,
        labels,
        sessions,
        samples=samples,
        components=min(components, vectors.shape[1]),
        seed=seed,
        draws=draws,
    )


def verified(vectors: Vectors, rows: Rows, *, samples: int = 5, seed: int = 0, draws: int = DRAWS) -> float:
    """Equal error rate, a share."""
    return equal_error_rate(trials(vectors, rows, samples=samples, seed=seed, draws=draws))


def template_cost(vectors: Vectors, rows: Rows, seed: int) -> float:
    """Equal error rate of sealed templates less that of means in float of the same samples, a share."""
    labels, sessions = numbered(rows, "label"), numbered(rows, "session")
    sealed = trials(vectors, rows, seed=seed)
    return equal_error_rate(sealed) - equal_error_rate(plain_trials(vectors, labels, sessions, seed))


def plain_trials(vectors: Vectors, labels: Numbers, sessions: Numbers, seed: int) -> Trials:
    """The trials of `trials`, with the mean of each enrolment in float for a template: no transform, no rounding."""
    genuine, genuine_of, impostor, sample, template = [], [], [], [], []
    for draw in range(DRAWS):
        for identity in np.unique(labels).tolist():
            own, others = np.flatnonzero(labels == identity), np.flatnonzero(labels != identity)
            chosen = enrolment(own, sessions[own], 5, np.random.default_rng([seed, draw, identity]))
            mean = vectors[chosen].mean(axis=0)
            scores = vectors @ (mean / np.linalg.norm(mean))
            genuine.append(scores[np.setdiff1d(own, chosen)])
            genuine_of.append(np.full(len(genuine[-1]), identity))
            impostor.append(scores[others])
            sample.append(labels[others])
            template.append(np.full(len(others), identity))
    joined = [np.concatenate(part) for part in (genuine, genuine_of, impostor, sample, template)]
    return Trials(joined[0], joined[1], np.zeros(len(joined[0]), dtype=bool), *joined[2:])


def oneshot(vectors: Vectors, rows: Rows, *, seed: int = 0) -> float:
    """Share that is right of 20 ways with one sample each, within an alphabet, by two drawers."""
    groups = [str(row["alphabet"]) for row in rows]
    found = one_shot_accuracy(
        vectors,
        numbered(rows, "label"),
        numbered(rows, "session"),
        groups=groups,
        ways=20,
        episodes=EPISODES,
        seed=seed,
    )
    return found.accuracy.value


def probed(embedder: Embedder, known: list[dict[str, Any]], asked: list[dict[str, Any]]) -> npt.NDArray[np.float64]:
    """Whether a linear probe of recordings tells the label of each that is asked (q,)."""
    classes = {label: number for number, label in enumerate(sorted({row["label"] for row in known}))}

    def labels(rows: Rows) -> npt.NDArray[np.int64]:
        return np.array([classes[row["label"]] for row in rows], dtype=np.int64)

    bank, queries = (vectors_of(embedder.embed, rows, "audio") for rows in (known, asked))
    return linear_probe(bank, labels(known), queries, labels(asked)).correct


def numbered(rows: Rows, column: str) -> npt.NDArray[np.int64]:
    """The values of a column as numbers; a column that is not there makes each row its own."""
    if not rows or column not in rows[0]:
        return np.arange(len(rows), dtype=np.int64)
    return np.unique([str(row[column]) for row in rows], return_inverse=True)[1].astype(np.int64)


def over_runs(figures: Mapping[str, Sequence[float]], unit: str = "") -> Figures:
    """Mean over runs, with Student's 95 % interval of the mean where there are several."""
    found: Figures = {}
    for key, values in figures.items():
        mean = float(np.mean(values))
        if len(values) < 2:
            found[key] = figure(mean, unit)
            continue
        half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
        # A rate is not below 0, and no share above the whole.
        least = 0.0 if min(values) >= 0 else -np.inf
        whole = 100.0 if key.endswith("_pct") else 1.0
        most = whole if max(values) <= whole else np.inf
        found[key] = figure(Interval(mean, max(least, mean - half), min(most, mean + half)), unit)
    return found
