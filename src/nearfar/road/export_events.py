"""From trained encoders of items and histories to the bundle that ships, with what was measured on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.errors import RunError
from nearfar.progress import Stages
from nearfar.road.actions_of_run import cases_of, kept_facts, training_actions, transitions_of
from nearfar.road.draft import Draft, shipping
from nearfar.road.measure_membership import measure_membership
from nearfar.road.measure_ranking import compare_rankers
from nearfar.road.provenance import provenance_of

if TYPE_CHECKING:
    from nearfar.bundle import Bundle
    from nearfar.learn.actions import TrainedActions
    from nearfar.recipe.compress import Compress
    from nearfar.recipe.events import CountedPrior

_GRAPH = "history.onnx"


def export_recommender(
    trained: TrainedActions,
    target: Path,
    *,
    dim: int | None,
    quantise: str,
    baselines: Sequence[str],
    stages: Stages,
    compress: Compress | None = None,
) -> Bundle:
    """Write the bundle of a trained run over events: graph, catalogue, prior, figures, card.

    First as drafts, one for each prior that the recipe leaves open, through which prior and weights are chosen on validation cases; then with
    these, and so it is measured on the test. Nothing is fitted to what it is measured on, and nothing is fitted again afterwards.

    Args:
        trained: the run.
        target: directory of the bundle.
        dim: no shorter vectors are known for events.
        quantise: `int8` or `none`, of the graph; vectors of items are int8 always.
        baselines: what to measure beside the bundle, of `popularity`, `item_knn`, `transitions` and `untrained`.
        stages: told what is being done.
        compress: no such steps are known for events.

    Raises:
        BundleError: where it cannot be written; what was there stays.
        RunError: where the encoder cannot be turned into a graph, or there is something to compress by or to cut.
    """
    if compress is not None:
        raise RunError(
            "compress is for text and pictures; of a recommender, encoder.dim and recommend.prior.mb say how small it is"
        )
    if dim is not None and dim != trained.recipe.of_events.encoder.dim:
        raise RunError(
            f"dim is {dim}, but vectors of items cannot be cut: set encoder.dim of the recipe, and train again"
        )
    with shipping(target) as (writer, folder):
        draft = _blended(trained, _draft(trained, quantise=quantise, stages=stages), folder / "draft", stages)
        bundle = draft.written(folder / "bundle")
        metrics = compare_rankers(trained, bundle, baselines=baselines, stages=stages)
        private = measure_membership(trained, bundle, stages=stages)
        return draft.fill(writer, metrics=metrics | ({"privacy": private} if private else {}))


def _draft(trained: TrainedActions, *, quantise: str, stages: Stages) -> Draft:
    """The bundle of a recommender without a prior, with the encoder's part of the score alone."""
    import numpy as np

    from nearfar.bundle import Manifest, Tower
    from nearfar.bundle.recommender_record import RecommenderRecord
    from nearfar.edge.recommend.catalogue_files import FACTS, NAMES, POPULARITY, SCALES, VECTORS, catalogue_files

    recipe, corpus, settings = trained.recipe, trained.corpus, trained.recipe.of_events.recommend
    tick = stages("exporting")
    count = len(corpus.names)
    acted = np.bincount(training_actions(corpus)[0], minlength=count)
    shares = (acted + 1.0) / (acted.sum() + count)
    graph = trained.export_graph(quantise)
    if graph.weights != quantise and quantise == "int8":
        tick(0, f"kept in float: int8 would agree by a cosine of {graph.agreement:.3f} only")
    files = {
        _GRAPH: graph.content,
        **catalogue_files(corpus.names, trained.item_vectors(), np.log(shares), None, kept_facts(recipe, corpus.facts)),
    }
    tick(1)
    tower = Tower(graph=_GRAPH)
    manifest = Manifest(
        name=recipe.name,
        kind="recommender",
        towers={"query": tower, "document": tower},
        dim=recipe.of_events.encoder.dim,
        similarity="dot",
        frontend=corpus.settings,
        recommender=RecommenderRecord(
            items=count,
            names=NAMES,
            vectors=VECTORS,
            scales=SCALES,
            popularity=POPULARITY,
            facts=FACTS if FACTS in files else None,
            half_life=settings.half_life,
            noise=settings.noise,
            signed_by=settings.signed_by,
            cold=corpus.counts.cold,
        ),
        provenance=provenance_of(
            recipe, fingerprint=corpus.counts.fingerprint, data_counts=_counts(trained), augmentations=_copies(trained)
        ),
    )
    return Draft(files, manifest)


def _blended(trained: TrainedActions, draft: Draft, folder: Path, stages: Stages) -> Draft:
    """The draft with the prior and the weights that validation chose; what has no weight is left out.

    Each prior is tried in a bundle of its own, through the code of the device.
    """
    from nearfar.edge.recommend.catalogue import Catalogue
    from nearfar.edge.recommend.ranker import DeviceRanker
    from nearfar.edge.recommend.scorer import Scorer
    from nearfar.learn.data.split import VALIDATION
    from nearfar.road.blend import choose_blend

    recipe = trained.recipe
    settings = recipe.of_events.recommend
    counted = settings.prior.counted if settings.prior.mb and settings.blend != "encoder" else ()
    drafts = [_with_prior(trained, draft, each) for each in counted] or [draft]
    rankers = []
    for place, tried in enumerate(drafts):
        bundle = tried.written(folder / str(place))
        rankers.append(DeviceRanker(Scorer(bundle, Catalogue.open(bundle))))
    task = cases_of(trained.corpus, VALIDATION, most=recipe.evaluate.max_queries, seed=recipe.seed)
    tick = stages("choosing the blend", len(rankers) * len(task.targets))
    kind = settings.blend if counted else "encoder"
    chosen = choose_blend(rankers, task, kind, popularity=trained.popularity_weight(), tick=tick).chosen
    best = drafts[chosen.prior] if chosen.weights.prior else draft
    return _changed(best, {f"{part}_weight": weight for part, weight in chosen.weights._asdict().items()})


def _with_prior(trained: TrainedActions, draft: Draft, counted: CountedPrior) -> Draft:
    """The draft with what came after what in training, within the size that the recipe gives it."""
    from nearfar.bundle.recommender_record import PriorRecord
    from nearfar.edge.recommend.catalogue_files import PRIOR
    from nearfar.edge.recommend.prior import Prior

    prior = Prior.of(
        transitions_of(trained.corpus, counted),
        round(trained.recipe.of_events.recommend.prior.mb * 1e6),
        smoothing=counted.smoothing,
        damping=counted.damping,
        recency=counted.recency,
    )
    with_prior = Draft({**draft.files, PRIOR: prior.to_bytes()}, draft.manifest)
    return _changed(with_prior, {"prior": PRIOR, "counted": PriorRecord(**counted._asdict())})


def _changed(draft: Draft, changes: Mapping[str, Any]) -> Draft:
    """The draft with another record of how it ranks."""
    record = draft.manifest.recommender
    assert record is not None
    changed = record.model_copy(update=dict(changes))
    return Draft(draft.files, draft.manifest.model_copy(update={"recommender": changed}))


def _counts(trained: TrainedActions) -> dict[str, int]:
    """How much of what there was, and what no rule let in."""
    counts = trained.corpus.counts
    return {
        "users": counts.users,
        "items": counts.items,
        "cold_items": counts.cold,
        "actions": counts.actions,
        "training_actions": counts.train,
        "validation_actions": counts.validation,
        "test_actions": counts.test,
        "held_out_on_unknown_items": counts.misses,
        "impressions": counts.impressions,
        "skipped": sum(counts.skipped.values()),
        **{f"dropped: {rule}": count for rule, count in counts.dropped.items()},
    }


def _copies(trained: TrainedActions) -> list[dict[str, Any]]:
    """How histories were altered at random."""
    views = trained.recipe.of_events.views
    return [views.model_dump(mode="json")] if views.weight else []
