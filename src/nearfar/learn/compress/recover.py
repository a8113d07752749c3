"""Training on after something was removed: the run's own data, method and trainer, at a tenth of its rate."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from torch import nn

from nearfar.embedder import Side
from nearfar.errors import InterruptedRunError, RunError
from nearfar.frontend import TextFrontend
from nearfar.learn.compress.model import PictureModel, TextModel
from nearfar.learn.data.corpus import Ints
from nearfar.learn.data.textfile import TokenFile
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.encoders.text import TextEncoder
from nearfar.learn.negatives import MomentumEncoder
from nearfar.learn.pairs import PreparedPairs, TrainedPairs
from nearfar.learn.pictures import TrainedPictures
from nearfar.learn.trainer.fit import fit
from nearfar.learn.trainer.workload import Prepared, Workload
from nearfar.progress import Stages
from nearfar.recipe import Recipe

_RATE = 0.1
_TEXTS_AT_A_TIME = 1024
E = TypeVar("E", bound=nn.Module)


@dataclass(frozen=True)
class Pruned:
    """The data of a run, with pruned encoders where its own were; a `Prepared`.

    Attributes:
        prepared: the data of the run.
        towers: attribute of the method -> the encoder that takes that place, and is trained. Momentum copies are of the last.
        trained: the method as the run left it: its heads and its temperature go on from there.
    """

    prepared: Prepared
    towers: Mapping[str, nn.Module]
    trained: nn.Module

    def workload(self, recipe: Recipe, *, threads: int, say: Callable[[str], None]) -> Workload:
        """What a fit works on; see `Prepared`."""
        workload = self.prepared.workload(recipe, threads=threads, say=say)
        method: nn.Module = workload.method
        _take_over(method, self.trained)
        new = {id(getattr(method, name)): tower for name, tower in self.towers.items()}
        groups = [(new.get(id(module), module), factor) for module, factor in workload.groups]
        for name, tower in self.towers.items():
            setattr(method, name, tower)
        last = list(self.towers.values())[-1]
        for module in (*method.modules(), *workload.surroundings.sources.modules()):
            if isinstance(module, MomentumEncoder) and isinstance(module.copy, TextEncoder | ImageEncoder):
                training = module.copy.training
                module.copy = copy.deepcopy(last).requires_grad_(False).train(training)
        return replace(workload, groups=groups)


def recovered_text(model: TextModel, run: TrainedPairs, epochs: float, folder: Path, stages: Stages) -> TextModel:
    """Train a smaller model on as its run was trained.

    Args:
        model: stays as it is.
        run: what it comes from.
        epochs: passes over the training rows; 0 leaves the model as it is.
        folder: where the log goes; what is there is removed.
        stages: told how far it is.

    Raises:
        InterruptedRunError: after Ctrl-C or SIGTERM.
        RunError: where training fails.
    """
    if not epochs:
        return model
    query, document = copy.deepcopy((model.query, model.document))  # at once, so that a shared tower stays shared
    _clear(folder)
    prepared = run.prepared
    if model.frontend is not run.frontend:
        prepared = tokenised_anew(prepared, model.frontend, folder, stages)
    towers = {"query_tower": query, "document_tower": document}
    _fit(run.recipe, Pruned(prepared, towers, run.embedder().method), epochs, folder, stages)
    return replace(model, query=_at_rest(query), document=_at_rest(document))


def recovered_pictures(
    model: PictureModel, run: TrainedPictures, epochs: float, folder: Path, stages: Stages
) -> PictureModel:
    """The same for pictures; a classifier is trained along. See `recovered_text`."""
    if not epochs:
        return model
    encoder, head = copy.deepcopy((model.encoder, model.head))
    trained = run.method()
    if encoder.dim != trained.encoder.dim:
        raise RunError(
            f"the pruned encoder gives {encoder.dim} components in place of {trained.encoder.dim}, which the heads of the run "
            "cannot be trained on with: set recover of this step to 0"
        )
    towers: dict[str, nn.Module] = {"encoder": encoder}
    if head is not None:
        towers = {"head": head, "encoder": encoder}
    _clear(folder)
    _fit(run.recipe, Pruned(run.prepared, towers, trained), epochs, folder, stages)
    return replace(model, encoder=_at_rest(encoder), head=head and _at_rest(head))


def _fit(recipe: Recipe, pruned: Pruned, epochs: float, folder: Path, stages: Stages) -> None:
    training = recipe.train.model_copy(
        update={
            "epochs": epochs,
            "max_steps": None,
            "learning_rate": recipe.train.learning_rate * _RATE,
            "early_stop": None,  # what comes out is the last step
            "devices": 1,
        }
    )
    try:
        fit(recipe.model_copy(update={"train": training}), pruned, folder, stages=stages)
    except InterruptedRunError:
        raise InterruptedRunError(
            "stopped while a pruned model was trained on; the run is as it was. Make the bundle again, and this step starts anew"
        ) from None
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # the weights are in memory, and go into the bundle


def _clear(folder: Path) -> None:
    """Remove what an earlier, interrupted export left."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"{folder}: no place for training on ({error}): make the run's directory writable, or set recover to 0"
        ) from error


def _take_over(method: nn.Module, trained: nn.Module) -> None:
    """Give a method with fresh weights those that another has learned beside its encoders: heads, queues, temperature."""
    inside = tuple(
        f"{name}."
        for name, module in trained.named_modules(remove_duplicate=False)  # a tower that both sides share has two names
        if isinstance(module, TextEncoder | ImageEncoder)
    )
    weights = {name: value for name, value in trained.state_dict().items() if not name.startswith(inside)}
    method.load_state_dict(weights, strict=False)


def _at_rest(encoder: E) -> E:
    """As a model lies in memory between steps: on the CPU, in eval mode, without gradients of the last step."""
    encoder.zero_grad(set_to_none=True)
    return encoder.cpu().eval()


def tokenised_anew(prepared: PreparedPairs, frontend: TextFrontend, folder: Path, stages: Stages) -> PreparedPairs:
    """The pairs of a run as another vocabulary cuts them.

    Args:
        prepared: the pairs.
        frontend: has the other vocabulary.
        folder: where the token ids go.
        stages: told how far it is.
    """
    corpus = prepared.corpus
    tick = stages("tokenising anew", len(corpus.query_texts) + len(corpus.document_texts))

    def encoded(numbers: Ints, side: Side) -> Iterator[npt.NDArray[np.int32]]:
        for start in range(0, len(numbers), _TEXTS_AT_A_TIME):
            texts = [corpus.texts[int(number)] for number in numbers[start : start + _TEXTS_AT_A_TIME]]
            yield from frontend.encode(texts, side)
            tick(len(texts))

    queries = TokenFile.write(folder / "query_tokens", encoded(corpus.query_texts, "query"))
    documents = TokenFile.write(folder / "document_tokens", encoded(corpus.document_texts, "document"))
    return replace(prepared, frontend=frontend, query_tokens=queries, document_tokens=documents)
