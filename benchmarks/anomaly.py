"""Alarms on streams of sensors: how good they are on SKAB, what they cost, and whether a promised rate of false alarms is kept.

Parts:
  skab          34 experiments of a test rig by the benchmark's own protocol (see tools/anomaly_skab.py): F1, false and missed alarm
                rate, balanced accuracy, AUC-PR and VUS-PR over frames, never point-adjusted, of nearfar and of
                  always            an alarm that never ends: 54 % of all test rows are faulty, so that its F1 is 0.70
                  iforest           Isolation Forest
                  t2_q              Hotelling's T2 and Q in principal components
                  mset              multivariate state estimation; mset_centred as published, where it looks 29 rows ahead
                  kmeans_windows    distance of the last 20 rows from k-means centres
                  mahalanobis       of the mean of the last 30 rows, with numbers that were compared on these test rows
                  mahalanobis_untuned  the same by the book
                  embedding         nearfar with an encoder in place of plain means, trained on the training rows of all experiments
                (nearfar itself has none here: 13,600 rows are 425 windows, fewer than `watch.least_windows`)
  choice        a made plant over four days: the encoder against plain means, by injected faults on the last part
  speed         one core, processes of their own: window_p50_ms is one sample of 8 channels from its numbers to the decision with an
                encoder over 64 frames; samples_per_second in blocks of 1,000 and rss_mb, the peak of the whole process, for
                8 channels where each sample is a frame, the same with the encoder (_embedding), and for 8 channels at 10 kHz with
                spectra each second (_fast); replay_24h_s the whole command that draws a day at 1 Hz, with the encoder at every
                frame; memory_growth_mb over a stream of memory_growth_samples
  false_alarms  made plants that stay healthy: realised over promised alarms a day, on days after those that the threshold comes from,
                and the same where all channels drift by a fifth of their spread a day
  regimes       a made rotating machine at an operating point that was held out of training

Keys: skab_<figure>_<row>, without a row's name for nearfar; skab_<figure>_minus_mahalanobis, of nearfar; intervals are of
experiments drawn anew.

    python benchmarks/anomaly.py --data DIR --json OUT [--only skab,speed] [--quick]

Data: a folder with skab/skab.parquet (columns file, datetime, 8 channels, anomaly). What is missing is passed over.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tools.results import Figures, arguments, report

if TYPE_CHECKING:
    from tools.anomaly_skab import Detect, Rows, SkabFile


def main() -> int:
    """Measure what was asked for."""
    options = _parsed()
    figures: Figures = {}
    try:
        for name in options.only:
            started = time.perf_counter()
            figures |= PARTS[name](options)
            print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    finally:  # parts take minutes, and one that fails is no reason to lose the others
        if figures:
            report(figures, options.json, quick=options.quick)
    return 0


def _skab(options: argparse.Namespace) -> Figures:
    from tools.anomaly_baselines import BASELINES
    from tools.anomaly_skab import measure_on_skab, read_skab
    from tools.anomaly_skab_nearfar import nearfar_on_skab, read_healthy

    path = options.data / "skab" / "skab.parquet" if options.data else None
    if path is None or not path.is_file():
        print("skab: passed over, give --data DIR with skab/skab.parquet", file=sys.stderr)
        return {}
    files = read_skab(path)
    if options.quick:
        files = files[::7]  # five: a fleet, which training asks for
    # Without an encoder: the scorers of raw means are all that is chosen from.
    chosen = nearfar_on_skab(files, read_healthy(path), None)
    own = measure_on_skab(chosen.detect, files)
    with_encoder = measure_on_skab(_skab_by_embedding(files, read_healthy(path), quick=options.quick), files)
    others = {name: measure_on_skab(detect, files) for name, detect in BASELINES.items()}
    figures = own.figures("") | own.minus(others["mahalanobis"], "mahalanobis") | with_encoder.figures("embedding")
    for name, measured in others.items():
        figures |= measured.figures(name)
    return figures


def _skab_by_embedding(files: list[SkabFile], healthy: Rows, *, quick: bool) -> Detect:
    """With an encoder, and the distance of embeddings that finds most injected faults."""
    from nearfar.edge.monitor.choose import as_candidate
    from tools.anomaly_encoder import train_encoder, write_training_rows
    from tools.anomaly_skab_nearfar import nearfar_on_skab

    with tempfile.TemporaryDirectory(prefix="nearfar-") as folder:
        write_training_rows(files, Path(folder) / "data")
        split = ("data.split.validation=0.15", "data.split.test=0.0")
        of_files = ("data.source.machine=file", "frontend.period=1.0", *split)
        steps = 20 if quick else 2000
        _, embed = train_encoder(Path(folder) / "data", Path(folder) / "run", *of_files, steps=steps)
        chosen = nearfar_on_skab(files, healthy, embed)
        best = next(trial for trial in chosen.trials if trial.features == "embedding")
        for trial in chosen.trials:
            print(
                f"injected faults: {trial.features} {trial.by} {trial.smooth} {trial.auc_pr.value:.3f}", file=sys.stderr
            )
        return chosen.detect_by(as_candidate(best))


def _choice(options: argparse.Namespace) -> Figures:
    from tools.anomaly_choice import measure_choice

    with tempfile.TemporaryDirectory(prefix="nearfar-") as folder:
        return measure_choice(Path(folder), quick=options.quick)


def _speed(options: argparse.Namespace) -> Figures:
    from tools.anomaly_monitors import write_monitors
    from tools.anomaly_speed import measure_speed

    with tempfile.TemporaryDirectory(prefix="nearfar-") as folder:
        bundles = write_monitors(Path(folder))
        return measure_speed({name: bundle.path for name, bundle in bundles.items()}, quick=options.quick)


def _false_alarms(options: argparse.Namespace) -> Figures:
    from tools.anomaly_false_alarms import measure_false_alarms

    return measure_false_alarms(quick=options.quick)


def _regimes(options: argparse.Namespace) -> Figures:
    from tools.anomaly_regimes import measure_regimes

    return measure_regimes(quick=options.quick)


PARTS: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "skab": _skab,
    "choice": _choice,
    "speed": _speed,
    "false_alarms": _false_alarms,
    "regimes": _regimes,
}


def _parsed() -> argparse.Namespace:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", help=f"parts to run, of: {','.join(PARTS)}")
    options = parser.parse_args()
    chosen = tuple(options.only.split(",")) if options.only else tuple(PARTS)
    unknown = [part for part in chosen if part not in PARTS]
    if unknown:
        parser.error(f"--only: there is no {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    options.only = chosen
    return options


if __name__ == "__main__":
    raise SystemExit(main())
