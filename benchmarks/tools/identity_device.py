"""The device part of benchmarks/identity.py: a vault under the hands of people and of threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.bundle import Bundle
from nearfar.edge import Encoder
from nearfar.edge.verify import Verifier
from nearfar.edge.verify.attempts import AttemptPolicy
from nearfar.progress import Stages
from nearfar.simulate import simulate_voices, write_wav
from tools.identity_trainings import trained
from tools.results import Figures, figure

RATE = 16_000
THREADS = 8
UNBOUNDED = AttemptPolicy(free=10**6, most=10**7, burst=10**7)
"""What is timed is decisions, not waiting."""


def device_figures(work: Path, stages: Stages, *, quick: bool) -> Figures:
    """Train on made voices, enrol some, and time decisions.

    Args:
        work: folder for voices, run and vault.
        stages: told what is being done.
        quick: few of everything.
    """
    identities, clips = (12, 8) if quick else (60, 20)
    folder = work / "voices"
    if not folder.exists():
        write_wav(simulate_voices(identities, clips, seed=0), folder, RATE)
    changes = ["verify.attacks=false", "data.split.validation=0.25", "data.split.test=0.25"]
    changes += ["encoder.width=128", "encoder.dim=128"]
    changes += [] if quick else ["train.max_steps=100"]
    _, bundle = trained("voices.yaml", folder, work / "run", stages, changes=changes, quick=quick)
    people = list(seconds_of_voices(6, clips=10))
    stages("enrolling")
    vault = work / "vault"
    key = work / "vault.key"
    with Verifier.create(vault, bundle, key=f"file:{key}", threshold=0.5, policy=UNBOUNDED) as verifier:
        for name, samples in people:
            verifier.enroll(name, samples[:5], allow_duplicate=True)
    with Verifier.open(vault) as verifier:
        figures = _timed(verifier, bundle, people, 40 if quick else 400)
        figures |= _in_threads(verifier, people, 200 if quick else 10_000, stages)
    figures["template_bytes"] = figure(_template_bytes(vault), "bytes")
    figures["bundle_mb"] = figure(sum(file.stat().st_size for file in bundle.path.iterdir()) / 1e6, "MB")
    return figures


def seconds_of_voices(count: int, *, clips: int) -> Iterator[tuple[str, list[npt.NDArray[np.float32]]]]:
    """Made people with samples of one second each, at 16 kHz."""
    samples: dict[str, list[npt.NDArray[np.float32]]] = {}
    for said in simulate_voices(count, clips, seed=7, rate=RATE):
        samples.setdefault(said.identity, []).append(np.resize(said.samples, RATE).astype(np.float32))
    yield from samples.items()


def _timed(verifier: Verifier, bundle: Bundle, people: list[tuple[str, Any]], turns: int) -> Figures:
    """Milliseconds of a decision, of its embedding alone, and of one on somebody who is not enrolled."""
    encoder = Encoder.open(bundle, threads=1)
    taken: dict[str, list[float]] = {"verify": [], "embed": [], "unknown": []}
    for turn in range(turns):
        name, samples = people[turn % len(people)]
        sample = samples[turn % 5]
        for kind, do in (
            ("verify", lambda name=name, sample=sample: verifier.verify(name, sample)),
            ("embed", lambda sample=sample: encoder.embed([sample])),
            ("unknown", lambda turn=turn, sample=sample: verifier.verify(f"nobody-{turn}", sample)),
        ):
            began = time.perf_counter()
            do()
            taken[kind].append(1000 * (time.perf_counter() - began))
    warm = {kind: np.array(times[len(times) // 10 :]) for kind, times in taken.items()}
    return {
        "verify_p50_ms": figure(float(np.median(warm["verify"])), "ms"),
        "verify_p95_ms": figure(float(np.quantile(warm["verify"], 0.95)), "ms"),
        "embed_p50_ms": figure(float(np.median(warm["embed"])), "ms"),
        "unknown_to_known_ratio": figure(float(np.median(warm["unknown"]) / np.median(warm["verify"]))),
    }


def _in_threads(verifier: Verifier, people: list[tuple[str, Any]], count: int, stages: Stages) -> Figures:
    """Decisions of enrolled people from parallel threads: how many a second, and how many went wrong."""
    tick = stages("decisions of threads", count)
    wrong: list[str] = []

    def work(first: int) -> None:
        for turn in range(first, count, THREADS):
            name, samples = people[turn % len(people)]
            try:
                # A sample of the template itself: it matches whatever the encoder has learned.
                decision = verifier.verify(name, samples[turn % 5])
            except Exception as error:  # a thread must not die unseen
                wrong.append(repr(error))
            else:
                if decision.reason not in ("match", "no match"):
                    wrong.append(decision.reason)
            tick(1)

    before = len(verifier.audit())
    began = time.perf_counter()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    lost = count - (len(verifier.audit()) - before)
    return {
        "threads_decisions_per_s": figure(count / seconds, "1/s"),
        "threads_failed": figure(float(len(wrong))),
        "threads_lost_from_audit": figure(float(lost)),
    }


def _template_bytes(vault: Path) -> float:
    """Bytes of one sealed template, as they lie in the file."""
    import sqlite3

    with sqlite3.connect(f"file:{vault / 'vault.sqlite'}?mode=ro", uri=True) as connection:
        (size,) = connection.execute("SELECT max(length(template)) FROM templates").fetchone()
    return float(size)
