"""From a trained image encoder to the bundle that ships, with what was measured on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.errors import RunError
from nearfar.progress import Stages
from nearfar.road.compress import agreement, climb
from nearfar.road.draft import shipping
from nearfar.road.draft_pictures import picture_bench, picture_draft
from nearfar.road.identity_of_run import identity_of_pictures
from nearfar.road.measure_images import compare_images

if TYPE_CHECKING:
    from nearfar.bundle import Bundle
    from nearfar.learn.pictures import TrainedPictures
    from nearfar.recipe.compress import Compress


def export_image_bundle(
    trained: TrainedPictures,
    target: Path,
    *,
    dim: int | None,
    quantise: str,
    baselines: Sequence[str],
    stages: Stages,
    compress: Compress | None = None,
) -> Bundle:
    """Write the bundle of a trained run over pictures: graph, figures, card.

    Args:
        trained: the run.
        target: directory of the bundle.
        dim: keep only the first so many components; None keeps all.
        quantise: `int8` or `none`.
        baselines: what to measure beside the bundle, of `pixels` and `untrained`.
        stages: told what is being done.
        compress: steps that make the model smaller, in place of `dim` and `quantise`.

    Raises:
        BundleError: where it cannot be written; what was there stays.
        DataError: where the pictures to measure on are no longer where they were.
        InterruptedRunError: after Ctrl-C while a step trains on.
        RunError: where the encoder has fewer than `dim` components or cannot be turned into a graph, or a step does not fit it.
    """
    from nearfar.edge import Encoder
    from nearfar.learn.compress.model import Form, PictureModel
    from nearfar.learn.compress.steps import check_steps

    method = trained.method().eval()
    encoder, frontend = method.encoder, trained.recipe.of_images.frontend
    if compress:
        dim = None
    elif dim is not None and dim > encoder.dim:
        raise RunError(f"dim is {dim}, but the encoder gives only {encoder.dim} components")
    head: Any = getattr(method, "head", None)
    form = Form("int8" if quantise == "int8" and not compress else "none")
    model = PictureModel(encoder, head, frontend.size, frontend.channels, dim, form)
    if compress:
        check_steps(model, compress.steps)
    with shipping(target) as (writer, folder):
        measured: dict[str, Any] = {}
        if compress:
            bench = picture_bench(trained, stages)
            model, measured["compression"] = climb(
                model,
                compress,
                bench,
                folder,
                resamples=max(1, trained.recipe.evaluate.bootstrap),
                seed=trained.recipe.seed,
                stages=stages,
            )
        draft = picture_draft(trained, model, stages)
        bundle = draft.written(folder / "bundle")
        if compress:
            measured["agreement"] = agreement(bench.embedder(model), Encoder.open(bundle), bench.samples)
        if trained.recipe.identity is None:
            measured["metrics"] = compare_images(trained, bundle, baselines=baselines, dim=dim, stages=stages)
        else:
            found = identity_of_pictures(trained, bundle, baselines=baselines, dim=dim, stages=stages)
            measured |= {"metrics": found.metrics, "verification": found.record}
            draft = replace(draft, files={**draft.files, **found.files})
        return draft.fill(writer, **measured)
