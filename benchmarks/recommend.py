"""For this person, on this device: the next action from a history, beside what counts and what learns elsewhere.

Figures are of the int8 bundle through the runtime of the device, blend and settings chosen on validation. Each held-out action is
ranked among all items of the catalogue, those that its user had acted on before removed, none sampled; ties count half. Figures are
means over users of the means over a user's cases, with 95 % intervals over users; several seeds of training are averaged user by user.

Cuts (both are made once, by the recipe, so that all systems see the same cases):
  last  the last action of each user is test, the one before it validation.
        Ratings of one second have no order of their own (the file has them by the number of the movie): theirs is drawn once.
  time  the log before a moment is trained on, the next tenth is validation, the last tenth test; each later action is a case, with all
        that its user did before it. What is not in the catalogue by then is a miss of everybody. Keys end in `_time`.

Peers, settings by validation where there is a choice (`chosen_*`), then measured on test; `best_baseline` is the best of them on test:
  popularity, item_knn (cosine), item_knn_recency (the same, older actions decaying), markov_last, markov_decayed, skip_5 (transitions up
  to five actions ahead, decay 0.6, smoothing 5, fixed before), skip_chosen (the same, skip, decay and smoothing chosen), als and bpr
  (of the package `implicit`), sasrec_bce (SASRec with one negative, as its paper has it, in tools/recommend_sasrec.py).
  On `last`, item-kNN, ALS and BPR learn from the validation action too, as in what is published of them. ALS solves for a history anew;
  BPR takes the user's own factors where it learned just that history, else the mean over its items.

Parts:
  peers    the peers on MovieLens small, or on `--log FILE`.
  nearfar  recipes/movies.yaml with each seed.
  cold     a tenth of the items with five actions or more is held out of training altogether. Each action on one is looked for by what
           its user did before; what the same users did later with other items is known to training. Among the held-out items alone
           (`cold_*`) and among all (`cold_among_all_*`). Beside it: chance, popularity (which knows
           nothing of them: all tie, so half of them stand before each, and its figure is 0 or nearly), shared
           categories (of movies: genres).
  bandit   Open Bandit, campaigns men and women: learned from the log of one policy, its clicks estimated on the later half of the log
           of the other, which showed items at random. Clicks are few: look at the intervals.
  device   100,000 items of 64 dimensions: the ten best after a new event, one thread; a durable record; bytes.
  crash    a process that records is killed 1,000 times: events lost, doubled, or otherwise not as they were acknowledged.

    python benchmarks/recommend.py --data DIR --work DIR --json OUT [--only peers,nearfar] [--splits last,time] [--seeds 3]
    python benchmarks/recommend.py --log ratings.csv --name ml-1m --set data.source.columns.item=movie_id --work DIR

With --work, what was trained and measured is kept: a run that was broken off goes on, and the figures are those of all runs there.
Data: a folder with `movielens_small` and `open_bandit`. Without it, and with --quick, a log is made and a few steps trained: that
shows that everything runs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

# Before numpy: every system has one thread, and implicit complains where its BLAS has more.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from nearfar.cli.console import progress_lines
from nearfar.progress import Stages
from tools.recommend_peers import peers
from tools.recommend_ranking import cold_figures, figures_of_cut, keep_value, kept_figure, measure_peer
from tools.recommend_sets import SPLITS, Log, given, made, movielens, prepared
from tools.results import Figures, arguments, report
from tools.text_state import State

PARTS = ("peers", "nearfar", "cold", "bandit", "device", "crash")
QUICK_PEERS = ("popularity", "item_knn_recency", "skip_5", "als", "sasrec_bce")


def main() -> int:
    """Measure what was asked for, then say all that is known."""
    options = _parsed()
    quick: bool = options.quick or (options.data is None and options.log is None)
    with tempfile.TemporaryDirectory(prefix="nearfar-") as temporary, progress_lines() as stages:
        work: Path = options.work or Path(temporary)
        if quick:  # never mixed with what is measured in earnest
            work = work / "quick"
        state = State(work / "measured")
        for part in options.only:
            started = time.perf_counter()
            _measure(part, options, work, state, stages, quick=quick)
            print(f"{part}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
        figures = figures_of(state)
    if figures:
        report(figures, options.json, quick=quick)
    return 0


def _parsed() -> argparse.Namespace:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", help=f"parts to run, of: {','.join(PARTS)}")
    parser.add_argument("--splits", help="of peers and nearfar")
    parser.add_argument("--peers", help="which of the peers, with commas between")
    parser.add_argument(
        "--seeds", type=int, default=3, help="trainings of nearfar for each split, and draws of cold items"
    )
    parser.add_argument("--log", type=Path, help="another log of events in place of MovieLens small")
    parser.add_argument("--name", default="other", help="what figures of --log are called, without cold_ before it")
    parser.add_argument("--set", action="append", default=[], help="change a key of the recipe")
    options = parser.parse_args()
    splits = ("last",) if options.quick or (options.data is None and options.log is None) else tuple(SPLITS)
    public = ("bandit",) if options.data is not None and (options.data / "open_bandit").is_dir() else ()
    usual = (
        ("peers", "nearfar") if options.log is not None else ("peers", "nearfar", "cold", *public, "device", "crash")
    )
    for name, known, default in (
        ("only", PARTS, usual),
        ("splits", tuple(SPLITS), splits),
        ("peers", tuple(peers()), tuple(peers())),
    ):
        chosen = tuple(getattr(options, name).split(",")) if getattr(options, name) else default
        unknown = [part for part in chosen if part not in known]
        if unknown:
            parser.error(f"--{name}: there is no {', '.join(unknown)}; choose from {', '.join(known)}")
        setattr(options, name, chosen)
    return options


def _measure(part: str, options: argparse.Namespace, work: Path, state: State, stages: Stages, *, quick: bool) -> None:
    """One part, into `state`."""
    if part == "device":
        from tools.recommend_device import measure_device

        return measure_device(work / "device", state, stages, quick=quick)
    if part == "crash":
        from tools.recommend_crash import lost_events

        kills = 10 if quick else 1000
        keep_value(state, "crash", "lost_events", lost_events(work / "crash", kills=kills))
        return keep_value(state, "crash", "kills", kills)
    if part == "bandit":
        from tools.recommend_bandit import measure_bandit

        return measure_bandit(options.data, work / "bandit", state, stages, options.set, quick=quick)
    log = _log(options, work, stages)
    if part == "peers":
        for by in options.splits:
            cut = prepared(log, by, work, stages, options.set)
            for name, peer in peers().items():
                if name in (QUICK_PEERS if quick else options.peers):
                    stages(f"{cut.name}: {name}")
                    measure_peer(name, peer, cut, state, quick=quick)
        return None
    # Not above: peers are measured without it.
    from tools.recommend_nearfar import measure_cold, measure_nearfar

    seeds = 1 if quick else options.seeds
    if part == "cold":
        return measure_cold(log, work / "cold", state, stages, seeds, options.set, quick=quick)
    for by in options.splits:
        measure_nearfar(log, by, work, state, stages, seeds, options.set, quick=quick)
    return None


def _log(options: argparse.Namespace, work: Path, stages: Stages) -> Log:
    if options.log is not None:
        return given(options.log, options.name)
    if options.data is not None and not options.quick:
        return movielens(options.data, work)
    return made(work, stages)


def figures_of(state: State) -> Figures:
    """Everything that was measured so far."""
    cuts = [group for group in state.groups("ndcg") if not group.startswith("cold_")]
    figures: Figures = {}
    for group in sorted(cuts, key=lambda name: (not name.startswith("movies_"), name)):
        name, _, split = group.rpartition("_")
        suffix = "" if name in ("movies", "shop") else f"_{name}"
        figures |= figures_of_cut(state, group, suffix + ("" if split == "last" else f"_{split}"))
    figures |= cold_figures(state)
    for group in state.groups("value"):
        for kind in state.of("value", group):
            figures[kind] = kept_figure(state, group, kind)
    return figures


if __name__ == "__main__":
    sys.exit(main())
