"""One space of several modalities: characters and their names, emoji and words of six languages, digits said and written.

Figures are of the int8 bundle through the runtime of the device, on what was held out, with 95 % bootstrap intervals over queries; seeds of
training are averaged query by query. A query has found what it asked for where any of its right answers is among the first k; equal
scores stand in a random order. `_untrained_` is the same bundle without training, `_float_` the trained one in 32-bit numbers (first seed).

Parts:
  glyphs   recipes/glyph-names.yaml on the characters of DejaVu Sans, which comes with matplotlib; needs no data. `i2t` asks with 600 test
           characters among their 600 names, `t2i` the other way, `full` among all characters or names. Characters that look the same
           have several right names. `seen_words`: all words of the name come up in training names. `glyph_train_*`: of one training.
  emoji    recipes/emoji.yaml. `t2i` asks with the keywords of held-out emoji among the pictures of all, in each language and as the
           mean of the languages. `strict`: only the held-out emoji that the keyword was taken from are right. `unnamed`: keywords that
           share no word with the names of these. `names_t2i` asks with names, `i2t` with held-out pictures among all names and keywords.
           Beside it, `name_baseline` and `name_ngram_baseline`: words (BM25) or letters of the keyword against the names of all pictures
           of the gallery in its language, also of the held-out ones, of which nearfar knows only the pixels. `pixels`: the captions of
           the most alike training pictures.
  digits   recipes/spoken-digits.yaml, no sound paired with a picture; each of six speakers held out once. `voice_to_image`: share
           that is right of the first ten of 2,000 test pictures. `voice_to_text` among ten words. `image_to_voice` among the recordings
           of the held-out speaker. By speaker too.
  device   a bundle of three towers (those of recipes/emoji.yaml, and one for sound at 16 kHz) and an index of 10,000 texts, pictures and
           recordings: from the bytes of a JPEG file of 512 x 512 pixels, a WAV file of a second, or a text, to the ten nearest of all
           kinds; one thread, kinds of queries in turns. `embed`: of that the embedding alone.
  gpu      a step of CLIP beside open_clip's loss on the same towers, see tools/crossmodal_gpu.py and crossmodal_clip.py; small on a machine
           without a GPU, where keys start with `cpu_`.

    python benchmarks/crossmodal.py --data DIR --work DIR --json OUT [--only glyphs,emoji] [--seeds 3] [--failures PNG]

With --work, what was trained and measured is kept: a run that was broken off goes on, and the figures are those of all runs there.
Data: a folder with `noto_emoji`, `fsdd` and `mnist`. Without it only glyphs, device (on made data) and gpu; with --quick all parts on made data and with a
few steps, which shows that everything runs. `--failures` draws the worst of the emoji.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

# Before numpy: scans of an index are timed on one thread.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from nearfar.cli.console import progress_lines
from nearfar.evaluate import Interval, mean_interval
from nearfar.progress import Stages
from tools.crossmodal_ranking import Floats, mean_of_groups, over_seeds, ratio_of_groups
from tools.crossmodal_sets import LANGUAGES
from tools.results import Figures, arguments, figure, report
from tools.text_state import State

PARTS = ("glyphs", "emoji", "digits", "device", "gpu")
WITH_DATA = ("emoji", "digits")
_UNITS = {"_ms": "ms", "_mb": "MB", "_seconds": "s", "_gb": "GB"}


def main() -> int:
    """Measure what was asked for, then say all that is known."""
    options = _parsed()
    quick: bool = options.quick
    with tempfile.TemporaryDirectory(prefix="nearfar-") as temporary, progress_lines() as stages:
        work: Path = options.work or Path(temporary)
        if quick:  # never mixed with what is measured in earnest
            work = work / "quick"
        state = State(work / "measured")
        clip: Figures = {}
        for part in options.only:
            started = time.perf_counter()
            clip |= _measure(part, options, work, state, stages, quick=quick)
            print(f"{part}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
        figures = figures_of(state) | clip
    if figures:
        report(figures, options.json, quick=quick)
    return 0


def _parsed() -> argparse.Namespace:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", help=f"parts to run, of: {','.join(PARTS)}")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each part, and of digits of each fold")
    parser.add_argument("--failures", type=Path, metavar="PNG", help="draw the worst failures of emoji there")
    parser.add_argument("--set", action="append", default=[], help="change a key of the recipes")
    options = parser.parse_args()
    known = options.quick or options.data is not None
    usual = tuple(part for part in PARTS if known or part not in WITH_DATA)
    options.only = tuple(options.only.split(",")) if options.only else usual
    unknown = [part for part in options.only if part not in PARTS]
    if unknown:
        parser.error(f"--only: there is no {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    lacking = [part for part in options.only if part not in usual]
    if lacking:
        parser.error(f"--only: {', '.join(lacking)} cannot be measured without data: give --data")
    return options


def _measure(
    part: str, options: argparse.Namespace, work: Path, state: State, stages: Stages, *, quick: bool
) -> Figures:
    """One part, into `state`; figures of a GPU are of one run and returned."""
    # Not above: a machine that is lent for its GPU has not all that the other parts need.
    if part == "gpu":
        from tools.crossmodal_gpu import figures_of_clip

        return figures_of_clip(quick=quick)
    seeds = 1 if quick else options.seeds
    if part == "glyphs":
        from tools.crossmodal_glyphs import measure_glyphs

        measure_glyphs(work / part, state, stages, seeds, options.set, quick=quick)
        return {}
    data: Path | None = None if quick else options.data
    if data is None:
        from tools.crossmodal_made import made_sets

        data = made_sets(work / "made")
    if part == "emoji":
        from tools.crossmodal_emoji import measure_emoji

        measure_emoji(data, work / part, state, stages, seeds, options.set, options.failures, quick=quick)
    elif part == "digits":
        from tools.crossmodal_digits import measure_digits

        measure_digits(data, work / part, state, stages, seeds, options.set, quick=quick)
    else:
        from tools.crossmodal_device import measure_device

        measure_device(data, work / part, state, stages, options.set, quick=quick)
    return {}


def figures_of(state: State) -> Figures:
    """Everything that was measured so far."""
    figures: Figures = {}
    found = {key: over_seeds(state.of("share", key)) for key in state.groups("share")}
    by_language: dict[str, list[Floats]] = {}
    for key, values in found.items():
        stem, _, language = key.rpartition("_")
        if key.startswith("emoji_") and language in LANGUAGES:
            by_language.setdefault(stem, []).append(values)
        figures[key] = figure(mean_interval(values))
    figures |= {stem: figure(mean_of_groups(groups)) for stem, groups in by_language.items()}
    for stem, groups in by_language.items():
        below = by_language.get(stem.replace("emoji_t2i_", "emoji_name_baseline_"))
        if stem.startswith("emoji_t2i_") and below is not None and len(below) == len(groups):
            figures[f"{stem}_vs_names"] = figure(ratio_of_groups(groups, below), "times")
    for key in state.groups("value"):
        runs = [float(values[0]) for values in state.of("value", key).values()]
        unit = next((unit for ending, unit in _UNITS.items() if key.endswith(ending)), "")
        # Of several runs the range, for there are too few for an interval.
        several = Interval(float(np.mean(runs)), min(runs), max(runs)) if len(runs) > 1 else runs[0]
        figures[key] = figure(several, unit)
    return dict(sorted(figures.items()))


if __name__ == "__main__":
    sys.exit(main())
