"""From the trained towers of one space to the bundle that ships, with what was measured on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nearfar.errors import RunError
from nearfar.progress import Stages
from nearfar.road.draft import Draft, shipping
from nearfar.road.joint_tasks import Linked
from nearfar.road.joint_vectors import of_bundle, of_model, of_untrained
from nearfar.road.measure_joint import compare_joint, held_out, standing, tasks_of
from nearfar.road.provenance import provenance_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.bundle import Bundle
    from nearfar.bundle.joint_record import ShippedTower
    from nearfar.learn.data.joint import JointCorpus
    from nearfar.learn.joint import TrainedJoint
    from nearfar.learn.methods.joint import Joint
    from nearfar.recipe import Recipe
    from nearfar.recipe.compress import Compress
    from nearfar.road.measure_joint import Embed

    Vectors = npt.NDArray[np.float32]

AGREEMENT = 0.97
"""Least mean cosine of a tower in int8 with the model; below it the tower ships in float."""

_CALIBRATED = 512
_CENTRED = 10_000  # items that a mean is taken over
_COMPARED = 256


def export_joint_bundle(
    trained: TrainedJoint,
    target: Path,
    *,
    dim: int | None,
    quantise: str,
    baselines: Sequence[str],
    stages: Stages,
    compress: Compress | None = None,
) -> Bundle:
    """Write the bundle of a trained run over partners: a graph for each tower, how they stand to each other, figures, card.

    Args:
        trained: the run.
        target: directory of the bundle.
        dim: must be None: towers meet in all components.
        quantise: `int8` or `none`.
        baselines: what to measure beside the bundle, of `untrained`.
        stages: told what is being done.
        compress: must be None: the steps of compression do not know several towers.

    Raises:
        BundleError: where it cannot be written; what was there stays.
        RunError: where a tower cannot be turned into a graph, or `dim` or compression is asked for.
    """
    if compress is not None:
        raise RunError("compress is not for several modalities yet: leave it out, and set export.quantise")
    if dim is not None:
        raise RunError("dim cannot be cut of several modalities: train with encoder.dim of the size that you want")
    recipe, corpus = trained.recipe, trained.corpus
    resamples = max(1, recipe.evaluate.bootstrap)
    with shipping(target) as (writer, folder):
        method = trained.method().eval()
        means = _means(trained, method, stages) if recipe.export.gap == "centre" else {}
        model = of_model(trained, method, means)
        draft, bundle = _agreeing(trained, method, means, model, folder, quantise=quantise, stages=stages)
        embed = of_bundle(trained, bundle)
        gaps, scales = standing(embed, corpus, resamples=resamples, seed=recipe.seed, stages=stages)
        assert draft.manifest.joint is not None
        joint = draft.manifest.joint.model_copy(update={"gaps": gaps, "scales": scales})
        rows = {"untrained": of_untrained(trained)} if "untrained" in baselines else {}
        metrics = compare_joint(
            rows | {"model": model, "bundle": embed},
            tasks_of(corpus, recipe),
            scales=scales,
            labelled=bool((corpus.labels[held_out(corpus)] >= 0).any()),
            resamples=resamples,
            seed=recipe.seed,
            stages=stages,
        )
        return draft.fill(writer, joint=joint, metrics=metrics)


def _means(trained: TrainedJoint, method: Joint, stages: Stages) -> dict[str, Vectors]:
    """Tower -> mean (d,) of the vectors of its training items."""
    from nearfar.learn.data.split import TRAIN

    linked, found = Linked.of(trained.corpus), {}
    tick = stages("centring", len(trained.corpus.sides))
    embed = of_model(trained, method, {})
    for tower in trained.corpus.sides:
        items = linked.items(tower, trained.corpus.side == TRAIN)
        found[tower] = embed(tower, _some(items, _CENTRED, trained.recipe.seed)).mean(axis=0)
        tick(1)
    return found


def _agreeing(
    trained: TrainedJoint,
    method: Joint,
    means: Mapping[str, Vectors],
    model: Embed,
    folder: Path,
    *,
    quantise: str,
    stages: Stages,
) -> tuple[Draft, Bundle]:
    """The bundle, not yet measured: each tower in int8 where that is asked for and keeps the directions of the model, else in float."""
    import numpy as np

    from nearfar.bundle import Agreement

    towers = list(trained.corpus.sides)
    tick = stages("exporting", len(towers))
    graphs = {}
    for tower in towers:
        graphs[tower] = _graph(trained, method, tower, means.get(tower), quantise)
        tick(1)
    draft = joint_draft(trained, graphs, centred=bool(means))
    bundle = draft.written(folder / "first")
    cosines = _cosines(trained, model, of_bundle(trained, bundle))
    worse = [tower for tower in towers if cosines[tower].mean() < AGREEMENT] if quantise == "int8" else []
    kept = {tower: float(cosines[tower].mean()) for tower in worse}
    for tower in worse:
        graphs[tower] = _graph(trained, method, tower, means.get(tower), "none")
        tick(0, f"{tower} in float: int8 would have kept only a cosine of {kept[tower]:.3f}")
    if worse:
        draft = joint_draft(trained, graphs, centred=bool(means))
        bundle = draft.written(folder / "second")
        cosines = _cosines(trained, model, of_bundle(trained, bundle))
    everywhere = np.concatenate(list(cosines.values()))
    agreement = Agreement(items=len(everywhere), mean=float(everywhere.mean()), least=float(everywhere.min()))
    shipped = tuple(_shipped(tower, graphs[tower], float(cosines[tower].mean()), kept.get(tower)) for tower in towers)
    assert draft.manifest.joint is not None
    joint = draft.manifest.joint.model_copy(update={"graphs": shipped})
    manifest = draft.manifest.model_copy(update={"joint": joint, "agreement": agreement})
    return replace(draft, manifest=manifest), bundle


def _graph(trained: TrainedJoint, method: Joint, tower: str, mean: Vectors | None, quantise: str) -> bytes:
    from nearfar.learn.data.split import TRAIN
    from nearfar.learn.export.joint import into_space, layers_of

    training = Linked.of(trained.corpus).items(tower, trained.corpus.side == TRAIN)
    calibration = _some(training, _CALIBRATED, trained.recipe.seed)
    own = trained.tower(tower).graph(
        method.towers[tower], trained.items[tower], quantise=quantise, calibration=calibration
    )
    return into_space(own, layers_of(method.projections[tower]), mean=mean, quantise=quantise)


def _cosines(trained: TrainedJoint, model: Embed, shipped: Embed) -> dict[str, npt.NDArray[np.float64]]:
    """Tower -> cosines of the vectors of a graph with those of the model, on some items of all sides."""
    import numpy as np

    found = {}
    for tower, items in trained.items.items():
        some = _some(np.arange(len(items)), _COMPARED, trained.recipe.seed)
        found[tower] = (model(tower, some).astype(np.float64) * shipped(tower, some)).sum(axis=1)
    return found


def _shipped(tower: str, graph: bytes, cosine: float, int8_cosine: float | None) -> ShippedTower:
    import onnx

    from nearfar.bundle.joint_record import ShippedTower

    kinds = {tensor.data_type for tensor in onnx.load_model_from_string(graph).graph.initializer}
    weights: Literal["int8", "float32"] = "int8" if onnx.TensorProto.INT8 in kinds else "float32"
    return ShippedTower(tower=tower, weights=weights, size=len(graph), cosine=cosine, int8_cosine=int8_cosine)


def joint_draft(trained: TrainedJoint, graphs: Mapping[str, bytes], *, centred: bool) -> Draft:
    """The bundle of several towers, not yet measured.

    Args:
        trained: the run.
        graphs: tower -> its graph, into the common space.
        centred: whether they take each tower's mean away.
    """
    from nearfar.bundle import Manifest, Tower
    from nearfar.bundle.joint_record import JointRecord
    from nearfar.frontend.settings import JointSettings

    recipe, corpus = trained.recipe, trained.corpus
    files = {f"{tower}.onnx": graph for tower, graph in graphs.items()}
    for tower in graphs:
        files |= trained.items[tower].files
    manifest = Manifest(
        name=recipe.name,
        kind="joint-encoder",
        towers={tower: Tower(graph=f"{tower}.onnx") for tower in graphs},
        dim=recipe.of_joint.encoder.dim,
        frontend=JointSettings(towers={tower: trained.items[tower].frontend for tower in graphs}),
        joint=JointRecord(
            trained=tuple(dict.fromkeys((stream.left, stream.right) for stream in corpus.counts.streams)),
            centred=centred,
        ),
        provenance=provenance_of(
            recipe,
            fingerprint=corpus.counts.fingerprint,
            data_counts=_counts(corpus),
            augmentations=_augmentations(recipe),
        ),
    )
    return Draft(files, manifest)


def _counts(corpus: JointCorpus) -> dict[str, int]:
    counts = corpus.counts
    found = {
        "rows": counts.rows,
        "training_rows": counts.train,
        "validation_rows": counts.validation,
        "test_rows": counts.test,
        "rows_that_share_an_item_with_held_out_ones_dropped": counts.dropped,
        "rows_with_fewer_than_two_sides_left_out": counts.alone,
        "labels": len(counts.labels),
    }
    for tower, number in counts.items.items():
        found[f"{tower}_items"] = number
        found |= {f"{tower}_sides_{state}": many for state, many in counts.halves.get(tower, {}).items()}
    return found | {"skipped": sum(counts.skipped.values())}


def _augmentations(recipe: Recipe) -> list[dict[str, Any]]:
    """How items of each tower were changed while training."""
    found: list[dict[str, Any]] = []
    for name, tower in recipe.of_joint.towers.items():
        changes: dict[str, Any] = {}
        if (views := getattr(tower, "views", None)) is not None:
            changes |= views.model_dump(mode="json", exclude_none=True)
        if word_dropout := getattr(tower, "word_dropout", 0.0):
            changes["word_dropout"] = word_dropout
        if changes:
            found.append({"tower": name, **changes})
    return found


def _some(items: npt.NDArray[np.int64], most: int, seed: int) -> npt.NDArray[np.int64]:
    """At most so many of some items, drawn at random, ascending."""
    import numpy as np

    return np.sort(np.random.default_rng([seed, 7]).permutation(items)[:most])
