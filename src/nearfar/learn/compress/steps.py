"""The steps of a recipe's `compress` block, done: a model in, a smaller one out; the one given stays as it is."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from nearfar.errors import RunError
from nearfar.frontend import TextFrontend
from nearfar.learn.compress.channels import prune_channels, refresh_statistics
from nearfar.learn.compress.heads import prune_heads
from nearfar.learn.compress.layers import keep_layers
from nearfar.learn.compress.model import Form, PictureModel, TextModel
from nearfar.learn.compress.recover import Pruned, recovered_pictures, recovered_text, tokenised_anew
from nearfar.learn.compress.vocabulary import prune_vocabulary, token_counts
from nearfar.learn.data.batches import Share
from nearfar.learn.data.picture_rows import as_on_device
from nearfar.learn.data.split import TRAIN
from nearfar.learn.encoders.static import StaticTextEncoder
from nearfar.learn.encoders.text import TextEncoder
from nearfar.learn.pairs import TrainedPairs
from nearfar.learn.pictures import TrainedPictures
from nearfar.learn.trainer.workload import Workload
from nearfar.progress import Stages, silent
from nearfar.recipe.compress import (
    ChannelsStep,
    HeadsStep,
    LayersStep,
    PrefixStep,
    RankStep,
    Step,
    VocabularyStep,
    WeightsStep,
)

_BATCHES, _BATCH = 8, 64
_REFRESHED = 1_024


def check_steps(model: TextModel | PictureModel, steps: Sequence[Step]) -> None:
    """Meet a step that this model does not have what it takes for, before minutes of measuring.

    Raises:
        RunError: the first of these, with its place in the recipe and what to do.
    """
    for number, step in enumerate(steps):
        problem = misfit(model, step)
        if problem:
            raise RunError(f"compress.steps[{number}] ({step.kind}): {problem}")


def text_step(model: TextModel, step: Step, run: TrainedPairs, folder: Path, stages: Stages = silent) -> TextModel:
    """One step on a model of texts.

    Args:
        model: what is made smaller.
        step: how.
        run: where its training texts are, and how it is trained on.
        folder: where the log of training on goes.
        stages: told of what takes long.

    Raises:
        InterruptedRunError: after Ctrl-C or SIGTERM while training on.
        RunError: where the step does not fit the model.
    """
    check_steps(model, [step])
    match step:
        case VocabularyStep(min_count=min_count):
            return prune_vocabulary(model, token_frequency(model.frontend, run), min_count)
        case PrefixStep(dim=dim):
            return replace(model, dim=dim)
        case RankStep(rank=rank):
            return replace(model, form=replace(model.form, rank=rank))
        case LayersStep(keep=count, recover=epochs):
            smaller = _each_tower(model, lambda tower: keep_layers(tower, count))
            return recovered_text(smaller, run, epochs, folder, stages)
        case HeadsStep(keep=keep, recover=epochs):
            return recovered_text(_with_fewer_heads(model, run, keep), run, epochs, folder, stages)
        case WeightsStep():
            return replace(model, form=_form(model.form, step))
    raise AssertionError(step.kind)  # channels, which check_steps refuses


def picture_step(
    model: PictureModel, step: Step, run: TrainedPictures, folder: Path, stages: Stages = silent
) -> PictureModel:
    """One step on a model of pictures; see `text_step`."""
    check_steps(model, [step])
    match step:
        case PrefixStep(dim=dim):
            return replace(model, dim=dim)
        case LayersStep(keep=count, recover=epochs):
            smaller = replace(model, encoder=keep_layers(model.encoder, count))
            return recovered_pictures(smaller, run, epochs, folder, stages)
        case HeadsStep(keep=keep, recover=epochs):
            return recovered_pictures(_with_fewer_heads_of_pictures(model, run, keep), run, epochs, folder, stages)
        case ChannelsStep(keep=keep, recover=epochs):
            encoder = prune_channels(model.encoder, keep, size=model.size)
            refresh_statistics(encoder, _plain_pictures(run))
            return recovered_pictures(replace(model, encoder=encoder), run, epochs, folder, stages)
        case WeightsStep():
            return replace(model, form=_form(model.form, step))
    raise AssertionError(step.kind)  # vocabulary and rank, which check_steps refuses


def misfit(model: TextModel | PictureModel, step: Step) -> str:
    """What a model lacks for a step, in words; nothing where it fits."""
    pictures = isinstance(model, PictureModel)
    static = isinstance(model, TextModel) and isinstance(model.query, StaticTextEncoder)
    whole = model.encoder.dim if isinstance(model, PictureModel) else model.query.dim
    dim = model.dim or whole
    match step:
        case VocabularyStep() if pictures:
            return "pictures have no vocabulary: leave the step out"
        case PrefixStep(dim=wanted) if wanted > dim:
            return f"dim is {wanted}, but there are only {dim} components: give fewer"
        case PrefixStep(dim=wanted) if isinstance(model, TextModel) and (model.form.rank or 0) >= wanted:
            return f"dim is {wanted}, but a token takes {model.form.rank} numbers by then: put prefix before rank"
        case RankStep() if not static:
            return "only encoder 'static' is a table that can be factorised: leave the step out"
        case RankStep(rank=rank) if rank >= dim:
            return f"rank is {rank}, but a token has only {dim} numbers: give fewer"
        case LayersStep() | HeadsStep() if static:
            return "encoder 'static' has no layers: leave the step out, or train a transformer"
        case ChannelsStep() if not pictures:
            return "only encoders of pictures have channels: leave the step out"
        case WeightsStep(format=format_) if pictures and format_ != "int8":
            return f"format {format_} is for token tables, which pictures do not have: set format to int8"
        case WeightsStep(activations="static") if not pictures:
            return "activations of texts are dynamic, as their lengths differ: leave activations out"
    return ""


def _form(form: Form, step: WeightsStep) -> Form:
    static = None if step.activations is None else step.activations == "static"
    return replace(form, format=step.format, static=static, samples=step.samples)


def _each_tower(model: TextModel, smaller: Callable[[TextEncoder], TextEncoder]) -> TextModel:
    """The same done to both towers; one that they share stays shared."""
    query = smaller(model.query)
    return replace(model, query=query, document=query if model.document is model.query else smaller(model.document))


def token_frequency(frontend: TextFrontend, run: TrainedPairs) -> npt.NDArray[np.int64]:
    """How many of the training texts of a run, queries and documents, have each token of a frontend, (vocab_size,)."""
    corpus = run.corpus
    queries = (corpus.query(int(number)) for number in corpus.queries_of(TRAIN))
    documents = (corpus.document(int(number)) for number in corpus.training_documents())
    return token_counts(frontend, queries, "query") + token_counts(frontend, documents, "document")


def _with_fewer_heads(model: TextModel, run: TrainedPairs, keep: float) -> TextModel:
    with tempfile.TemporaryDirectory(prefix="nearfar-") as folder:
        prepared = run.prepared
        if model.frontend is not run.frontend:
            prepared = tokenised_anew(prepared, model.frontend, Path(folder), silent)
        towers = {"query_tower": model.query, "document_tower": model.document}
        workload = Pruned(prepared, towers, run.embedder().method).workload(run.recipe, threads=1, say=lambda _: None)
        batches = _some_batches(workload, run.recipe.seed)
        loss = _loss_of(workload)
        return _each_tower(model, lambda tower: prune_heads(tower, keep, loss=loss, batches=batches))


def _with_fewer_heads_of_pictures(model: PictureModel, run: TrainedPictures, keep: float) -> PictureModel:
    pruned = Pruned(run.prepared, {"encoder": model.encoder}, run.method())
    workload = pruned.workload(run.recipe, threads=1, say=lambda _: None)
    batches = [workload.surroundings.before(batch, 0) for batch in _some_batches(workload, run.recipe.seed)]
    return replace(model, encoder=prune_heads(model.encoder, keep, loss=_loss_of(workload), batches=batches))


def _loss_of(workload: Workload) -> Callable[[Any], Tensor]:
    """The loss of a batch by which the run was trained: a head matters if it moves that."""
    method, surroundings = workload.method, workload.surroundings

    def loss(batch: Any) -> Tensor:
        embedded, sources = surroundings.given(method.embed(batch), 0)
        value: Tensor = method.loss(embedded, surroundings.for_loss(embedded, sources))
        return value

    return loss


def _some_batches(workload: Workload, seed: int) -> list[Any]:
    rows = np.random.default_rng([seed, 9]).permutation(len(workload.rows))[: _BATCHES * _BATCH]
    return [workload.rows[Share(0, rows[first : first + _BATCH])] for first in range(0, len(rows), _BATCH)]


def _plain_pictures(run: TrainedPictures) -> list[Tensor]:
    """Batches (b, c, size, size) of training pictures as the device sees them."""
    frontend = run.recipe.of_images.frontend
    numbers = np.random.default_rng([run.recipe.seed, 9]).permutation(run.corpus.numbers_of(TRAIN))[:_REFRESHED]
    return [
        as_on_device(run.corpus, numbers[first : first + _BATCH], frontend.size, frontend.fit)
        for first in range(0, len(numbers), _BATCH)
    ]
