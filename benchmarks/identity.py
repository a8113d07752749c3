"""Who is it: verification of voices and of drawn characters against sealed templates, and what an attacker gets.

Every figure is of an int8 bundle through the runtime of the device, templates of five samples as a vault makes them (keyed transform,
128 bytes), on identities and recordings that nothing was chosen by. An interval is of the mean over splits and seeds (Student's t).

  omniglot  recipes/glyphs.yaml; three pairs of alphabets held out in turn, with two seeds each. `oneshot`: 20 ways, within an
            alphabet, by two drawers. `pixels` and `untrained` beside it. Settings were chosen on a fourth pair, Greek and Korean.
  fsdd      recipes/known-voices.yaml on speakers that are trained on (there are six); other recordings of theirs are held out, in five
            splits. Settings were chosen on a sixth. Each speaker has one microphone and one session, so `fsdd_uncentred_*`, which
            hears the microphone (one split), flatters; the main figure takes each band's mean away.
  keywords  recipes/sounds.yaml learns from wake_words without labels; a linear probe then tells the six keywords apart, beside the
            same encoder untrained and mean and deviation of the log-mel bands. Measured on the set's `valid` and `test`.
  device    one second of sound (16 kHz) to a decision in a vault, with the encoder of recipes/voices.yaml and with the answer
            durable on disk, one thread; bytes of a sealed template and what sealing costs in EER; megabytes of the bundle; decisions
            of parallel threads.
  attacks   of the omniglot bundles: unlinkability D_sys of templates under different keys with its permutation null, EER where
            impostors hold the victim's key, share of inverted templates that pass the matcher, PGD, noise.

    python benchmarks/identity.py --data DIR --json OUT [--work DIR] [--only omniglot,fsdd,keywords,device] [--on chosen]

Data: a folder with `omniglot_background_small`, `fsdd` and `wake_words`. Without it, and with --quick, voices are made and a few steps
trained: that shows that everything runs. `--on chosen` measures on what settings were chosen by instead.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nearfar.bundle import Bundle
from nearfar.cli.console import progress_lines
from nearfar.evaluate import Interval
from nearfar.progress import Stages
from tools import identity_sets as sets
from tools.identity_device import device_figures
from tools.identity_figures import DRAWS, oneshot, over_runs, probed, shares_found, template_cost, verified
from tools.identity_trainings import trained
from tools.results import Figures, arguments, figure, report

COLUMNS = "data.source.columns={image: image, label: label, group: alphabet, session: session, split: split}"
PARTS = ("omniglot", "fsdd", "keywords", "device")
SEEDS = (0, 1)


def main() -> int:
    """Train, measure, and say all figures."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", default=",".join(PARTS), help="which parts, with commas between")
    parser.add_argument("--on", choices=("test", "chosen"), default="test", help="what to measure on")
    parser.add_argument("--set", action="append", default=[], help="change a key of the recipes")
    options = parser.parse_args()
    quick: bool = options.quick or options.data is None
    parts = ("device",) if quick else tuple(options.only.split(","))
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="nearfar-") as temporary, progress_lines() as stages:
        work = options.work or Path(temporary)
        if "omniglot" in parts:
            figures |= characters(options.data, work / "omniglot", options.set, stages, chosen=options.on == "chosen")
        if "fsdd" in parts:
            figures |= speakers(options.data, work / "fsdd", options.set, stages, chosen=options.on == "chosen")
        if "keywords" in parts:
            figures |= heard(options.data, work / "keywords", options.set, stages)
        if "device" in parts:
            figures |= device_figures(work / "device", stages, quick=quick)
    report(figures, options.json, quick=quick)
    return 0


def characters(data: Path, work: Path, changes: Sequence[str], stages: Stages, *, chosen: bool) -> Figures:
    """Omniglot, alphabets held out."""
    rows = sets.read_rows(data / "omniglot_background_small" / "background_small.parquet")
    folds = (sets.CHOSEN_ON,) if chosen else sets.ALPHABETS
    figures: dict[str, list[float]] = {}
    attacks: dict[str, list[float]] = {}
    for seed in SEEDS[:1] if chosen else SEEDS:
        for fold in folds:
            name = f"{fold[0]}-{seed}".lower()
            file = sets.omniglot(rows, fold, work / f"{name}.parquet", seed=seed)
            run, bundle = trained(
                "glyphs.yaml", file, work / name, stages, seed=seed, changes=[COLUMNS, *changes], quick=False
            )
            test = [row for row in sets.read_rows(file) if row["split"] == "test"]
            for system, embedder in shares_found(run, bundle, "pixels").items():
                vectors = sets.vectors_of(embedder.embed, test, "image")
                suffix = "" if system == "bundle" else f"_{system}"
                draws = DRAWS if system == "bundle" else 1
                five = verified(vectors, test, seed=seed, draws=draws)
                one = verified(vectors, test, samples=1, seed=seed, draws=draws)
                shot = oneshot(vectors, test, seed=seed)
                for key, value in (("eer", five), ("eer_1_sample", one), ("oneshot", shot)):
                    figures.setdefault(f"omniglot_{key}{suffix}_pct", []).append(100 * value)
                if system == "bundle":
                    pair = f"{fold[0]}_and_{fold[1]}".lower().replace("(", "").replace(")", "")
                    figures.setdefault(f"omniglot_eer_{pair}_pct", []).append(100 * five)
                    figures.setdefault(f"omniglot_oneshot_{pair}_pct", []).append(100 * shot)
                    figures.setdefault("omniglot_template_cost_pct", []).append(
                        100 * template_cost(vectors, test, seed)
                    )
            for key, value in attack_figures(bundle).items():
                attacks.setdefault(key, []).append(value)
    return over_runs(figures, "%") | over_runs(attacks)


def attack_figures(bundle: Bundle) -> dict[str, float]:
    """What the bundle's own report says of attacks, under the names of this benchmark."""
    measured = bundle.manifest.metrics.get("attacks", {})
    shares = {"stolen_key_eer": "stolen_key_eer_pct", "inversion_rematch": "inversion_rematch_pct"}
    return {shares.get(name, name): (100 if name in shares else 1) * metric.value for name, metric in measured.items()}


def speakers(data: Path, work: Path, changes: Sequence[str], stages: Stages, *, chosen: bool) -> Figures:
    """FSDD, speakers seen in training."""
    rows = sets.read_rows(data / "fsdd" / "fsdd.parquet")
    splits = (sets.CLIPS_CHOSEN_ON,) if chosen else sets.CLIPS
    figures: dict[str, list[float]] = {}
    columns = "data.source.columns={label: label, attribute: attribute, split: split}"
    own = ["data.source.kind=audio_table", columns, "frontend.rate=8000", *changes]
    for kind, further in (("", ()), ("_uncentred", ("frontend.centre=none",))):
        for seed, held_out in enumerate(splits[:1] if kind else splits):
            name = f"takes-{held_out[0]}{kind}"
            file = sets.spoken_digits(rows, held_out, work / f"takes-{held_out[0]}.parquet")
            run, bundle = trained(
                "known-voices.yaml", file, work / name, stages, seed=seed, changes=[*own, *further], quick=False
            )
            test = [row for row in sets.read_rows(file) if row["split"] == "test"]
            for system, embedder in shares_found(run, bundle, "spectrum").items():
                if kind and system != "bundle":
                    continue
                vectors = sets.vectors_of(embedder.embed, test, "audio")
                suffix = "" if system == "bundle" else f"_{system}"
                figures.setdefault(f"fsdd{kind}_eer{suffix}_pct", []).append(100 * verified(vectors, test, seed=seed))
    return over_runs(figures, "%")


def heard(data: Path, work: Path, changes: Sequence[str], stages: Stages) -> Figures:
    """Keywords after learning without labels."""
    file = sets.keywords(sets.read_rows(data / "wake_words" / "wake_words.parquet"), work / "keywords.parquet")
    changes = ["data.source.kind=audio_table", "data.source.columns={label: label, split: split}", *changes]
    rows = sets.read_rows(file)
    known = [row for row in rows if row["split"] == "train"]
    asked = [row for row in rows if row["split"] != "train"]
    right: dict[str, list[np.ndarray]] = {}
    for seed in (0, 1, 2):
        run, bundle = trained(
            "sounds.yaml", file, work / f"seed-{seed}", stages, seed=seed, changes=changes, quick=False
        )
        for system, embedder in shares_found(run, bundle, "spectrum").items():
            right.setdefault(system, []).append(probed(embedder, known, asked))
    figures: Figures = {}
    for system, runs in right.items():
        figures[f"keyword_accuracy_{system}"] = figure(_of_rows(np.mean(runs, axis=0)))
    for other in ("spectrum", "untrained"):
        difference = np.mean(right["bundle"], axis=0) - np.mean(right[other], axis=0)
        figures[f"keyword_accuracy_bundle_minus_{other}"] = figure(_of_rows(difference))
    return figures


def _of_rows(values: np.ndarray) -> Interval:
    from nearfar.evaluate import mean_interval

    return mean_interval(values)


if __name__ == "__main__":
    sys.exit(main())
