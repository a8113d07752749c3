"""How well a recommender foresees what the users of somebody else's log did next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.errors import DataError
from nearfar.progress import Stages, silent
from nearfar.sources.document import ReadReport

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.bundle import Bundle
    from nearfar.bundle.block import Metric
    from nearfar.edge.recommend.catalogue import Catalogue
    from nearfar.evaluate.ranking import RankingTask
    from nearfar.frontend.events import EventsFrontend
    from nearfar.sources.event_log import EventNames
    from nearfar.sources.event_table import EventTable

MOST_CASES = 20_000


@dataclass(frozen=True)
class RankingReport:
    """What was measured of a recommender on a log.

    Attributes:
        metrics: by row: `popularity`, `encoder`, `prior`, `bundle`.
        users: with a case.
        cases: that were ranked.
        drawn_from: how many cases the log has.
        misses: of the ranked ones, those that nobody can find: not in the catalogue, or acted on before.
        dropped: rule of the bundle -> events that are no actions by it.
        refused: rows that could not be read.
    """

    metrics: dict[str, dict[str, Metric]]
    users: int
    cases: int
    drawn_from: int
    misses: int
    dropped: dict[str, int]
    refused: ReadReport


def evaluate_ranking(
    bundle: Bundle,
    path: Path,
    names: EventNames | None = None,
    *,
    most: int = MOST_CASES,
    resamples: int = 1000,
    seed: int = 0,
    stages: Stages = silent,
) -> RankingReport:
    """Foresee every action of a log but the first of each user, from all that its user did before it in this log.

    Args:
        bundle: a recommender.
        path: a .csv, .jsonl or .parquet file of events that the bundle was not trained on, or a folder of such.
        names: which column holds what; by default as in the bundle's recipe.
        most: cases that are ranked, drawn by chance where there are more.
        resamples: of the intervals over users.
        seed: of the draw and the intervals.
        stages: told what is being done.

    Raises:
        BundleError: the bundle recommends nothing.
        DataError: the log cannot be read, or holds no action after another one.
    """
    import numpy as np

    from nearfar.edge.recommend.catalogue import Catalogue, recommender_of
    from nearfar.evaluate.counting import Popularity
    from nearfar.evaluate.ranking import Ranker, measure_ranking, some_cases
    from nearfar.frontend.events import EventsFrontend
    from nearfar.frontend.settings import EventsSettings
    from nearfar.road.measure_ranking import device_rankers, ranking_metrics
    from nearfar.sources.event_log import EventLog

    record, settings = recommender_of(bundle), bundle.manifest.frontend
    assert isinstance(settings, EventsSettings)  # recommender_of has refused others
    catalogue = Catalogue.open(bundle)
    tick = stages("reading")
    kinds = settings.actions if settings.actions and settings.other is None else None
    zone = str(_source(bundle).get("timezone", "UTC"))
    log = EventLog(path, names or names_of(bundle), timezone=zone, kinds=kinds)
    table = log.read(_counting(tick))
    task, dropped = log_cases(table, EventsFrontend(settings), catalogue, bundle)
    drawn_from = len(task.targets)
    if not drawn_from:
        raise DataError(
            f"{path}: nobody in it acts twice, the first time on an item of this bundle's catalogue of {record.items:,}: there is "
            "nothing to foresee. Are its items called as the bundle calls them?"
        )
    if drawn_from > most:
        task = some_cases(task, np.sort(np.random.default_rng(seed).permutation(drawn_from)[:most]))
    rankers: dict[str, Ranker] = {"popularity": Popularity(), **device_rankers(bundle)}
    found = {}
    for row, ranker in rankers.items():
        tick = stages(f"measuring: {row}", len(task.targets))
        found[row] = measure_ranking(task, ranker, tick=tick)
    return RankingReport(
        metrics=ranking_metrics(found, resamples=resamples, seed=seed, cold=record.cold),
        users=len(np.unique(task.users)),
        cases=len(task.targets),
        drawn_from=drawn_from,
        misses=found["bundle"].misses,
        dropped=dropped,
        refused=log.report,
    )


def names_of(bundle: Bundle) -> EventNames:
    """Which column held what in the log that a bundle was trained on."""
    from nearfar.recipe.events import EventColumns
    from nearfar.sources.event_log import EventNames

    known = _source(bundle).get("columns")
    known = known if isinstance(known, dict) else {}
    columns = EventColumns.model_validate({key: known[key] for key in EventColumns.model_fields if key in known})
    return EventNames(
        item=columns.item,
        timestamp=columns.timestamp,
        user=columns.user,
        action=columns.action,
        dwell=columns.dwell,
        rating=columns.rating,
        context=columns.context,
    )


def _source(bundle: Bundle) -> Mapping[str, Any]:
    """The block of the recipe that said what was read; nothing where the bundle has no recipe."""
    data = bundle.manifest.provenance.recipe.get("data")
    source = data.get("source") if isinstance(data, dict) else None
    return source if isinstance(source, dict) else {}


def log_cases(
    table: EventTable, frontend: EventsFrontend, catalogue: Catalogue, bundle: Bundle
) -> tuple[RankingTask, dict[str, int]]:
    """The cases of a log, by the rules that the device has.

    Args:
        table: the log.
        frontend: weighs events, and says what is an accident or a repeat.
        catalogue: numbers the items; actions on others are in no history, but are to be foreseen, and missed.
        bundle: of the catalogue.

    Returns:
        The task; rule -> events that it took out.
    """
    import numpy as np

    from nearfar.evaluate.ranking import RankingTask
    from nearfar.frontend.events import repeated

    settings = frontend.settings
    kinds = np.array([frontend.kind_weight(name) for name in table.action_names], dtype=np.float64)
    weights = frontend.weights_of(kinds[table.actions], table.dwells, table.ratings)
    keep = weights > 0
    dropped = {"only shown, or dislike": int((~keep).sum())}
    short = keep & (table.dwells < settings.least_dwell)
    keys = (table.users * len(table.item_names) + table.items) * len(table.action_names) + table.actions
    again = keep & ~short & repeated(keys, table.times, settings.repeat)
    dropped |= {"shorter than least_dwell": int(short.sum()), "repeated": int(again.sum())}
    rows = np.flatnonzero(keep & ~short & ~again)
    rows = rows[np.lexsort((table.times[rows], table.users[rows]))]  # stable: equal times keep the order of the log
    number = np.array([-1 if (n := catalogue.number_of(name)) is None else n for name in table.item_names], np.int64)
    targets, users = number[table.items[rows]], np.unique(table.users[rows], return_inverse=True)[1]
    known = targets >= 0
    before: npt.NDArray[np.int64] = np.cumsum(known) - known
    firsts = np.searchsorted(users, np.arange(users.max(initial=-1) + 1))
    begin = before[firsts][users]
    cases = np.flatnonzero(before > begin)
    history = rows[known]
    moments = None
    if frontend.features:
        moments = frontend.context_of(
            [{name: cells[row] for name, cells in table.context.items()} for row in rows[cases].tolist()]
        )
    task = RankingTask(
        count=len(catalogue),
        items=targets[known],
        times=table.times[history],
        weights=weights[history],
        begin=begin[cases],
        end=before[cases],
        targets=targets[cases],
        now=table.times[rows][cases],
        users=users[cases],
        popularity=_acted(catalogue, bundle),
        values=None if moments is None else moments.values,
        codes=None if moments is None else moments.codes,
    )
    return task, {rule: count for rule, count in dropped.items() if count}


def _acted(catalogue: Catalogue, bundle: Bundle) -> npt.NDArray[np.float64]:
    """How often each item was acted on in training, about: undoes the smoothed log share of the bundle."""
    import numpy as np

    trained = bundle.manifest.provenance.data_counts.get("training_actions", 1_000_000)
    shares = np.exp(catalogue.popularity.astype(np.float64))
    return np.maximum(0.0, shares * (trained + len(catalogue)) - 1.0)


def _counting(tick: Callable[..., None]) -> Callable[[int], None]:
    """What a reader of rows tells."""

    def count(rows: int) -> None:
        tick(rows)

    return count
