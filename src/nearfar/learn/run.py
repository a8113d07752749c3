"""A run: a directory with a recipe, its prepared data, logs, checkpoints, and in the end a trained model."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.embedder import Side
from nearfar.errors import DataError, RunError
from nearfar.frontend import TextFrontend
from nearfar.learn.data.corpus import Ints, PairCorpus, prepare_corpus
from nearfar.learn.data.textfile import TextFile, TokenFile
from nearfar.learn.model import TorchEmbedder, build_frontend, build_method
from nearfar.learn.trainer.fit import document_share, fit, load_weights
from nearfar.learn.trainer.processes import fit_in_processes
from nearfar.progress import Stages, silent
from nearfar.recipe import Recipe, dump_recipe, load_recipe


class Prepared(NamedTuple):
    """What a fit reads.

    Attributes:
        corpus: what belongs together.
        frontend: text to token ids.
        query_tokens: token ids of the queries.
        document_tokens: token ids of the documents.
    """

    corpus: PairCorpus
    frontend: TextFrontend
    query_tokens: TokenFile
    document_tokens: TokenFile


@dataclass(frozen=True)
class TrainedRun:
    """A finished run: the corpus it learned from, the frontend, and the model.

    Attributes:
        directory: where everything lies.
        recipe: what was done.
        corpus: the prepared data.
        frontend: text to token ids.
    """

    directory: Path
    recipe: Recipe
    corpus: PairCorpus
    frontend: TextFrontend

    def embedder(self, *, dim: int | None = None) -> TorchEmbedder:
        """The trained model in float, with the best weights of the run."""
        method = build_method(self.recipe, self.frontend)
        load_weights(method, self.directory / "checkpoints" / "best.ckpt")
        return TorchEmbedder(method, self.frontend, dim=dim)

    def untrained(self) -> TorchEmbedder:
        """The same model as it was before the first step."""
        tokens = TokenFile(self.directory / "data" / "document_tokens")
        share = document_share(tokens, self.frontend.vocab_size, self.corpus.training_documents())
        return TorchEmbedder(build_method(self.recipe, self.frontend, share), self.frontend)


def open_run(directory: Path) -> TrainedRun:
    """Open a finished run.

    Raises:
        RunError: where the directory is no run, or its training has not ended.
    """
    if not (directory / "recipe.yaml").is_file():
        raise RunError(f"{directory} is not a run: it has no recipe.yaml. Give a directory that `nearfar train` made.")
    if not (directory / "fit.json").is_file():
        raise RunError(f"the training in {directory} has not ended: go on with nearfar train --resume {directory}")
    corpus, frontend, _, _ = open_prepared(directory)
    return TrainedRun(directory, load_recipe(directory / "recipe.yaml"), corpus, frontend)


def open_prepared(directory: Path) -> Prepared:
    """Open the data that a run has prepared."""
    data = directory / "data"
    return Prepared(
        PairCorpus.open(data),
        _open_frontend(directory / "frontend"),
        TokenFile(data / "query_tokens"),
        TokenFile(data / "document_tokens"),
    )


def _open_frontend(folder: Path) -> TextFrontend:
    return TextFrontend.load(folder, json.loads((folder / "settings.json").read_text("utf-8")))


def train_run(recipe: Recipe, directory: Path, *, resume: bool = False, stages: Stages = silent) -> TrainedRun:
    """Prepare the data of a recipe and train on it. Every stage that an earlier attempt finished is taken up as it is.

    Args:
        recipe: what to do.
        directory: the run directory; made if missing.
        resume: go on with the run that is there.
        stages: told what is being done.

    Raises:
        RunError: where `directory` holds a run and `resume` is false, or the other way round.
        DataError: where the data cannot be used.
        InterruptedRunError: after Ctrl-C or SIGTERM during training; the state is saved.
    """
    if not resume:
        if directory.exists() and any(directory.iterdir()):
            raise RunError(
                f"{directory} is not empty. Give another directory (-o), or go on with the run in it: nearfar train --resume {directory}"
            )
        directory.mkdir(parents=True, exist_ok=True)
        _write(directory / "recipe.yaml", dump_recipe(recipe))
    elif not (directory / "recipe.yaml").is_file():
        raise RunError(f"{directory} is not a run: it has no recipe.yaml. Give a directory that `nearfar train` made.")
    try:
        _train(recipe, directory, resume=resume, stages=stages)
    except DataError:
        if not resume and not (directory / "checkpoints").exists():
            _withdraw(directory)  # nothing was learned, and the next try may want the same directory
        raise
    except OSError as error:  # a full disk, most of all
        raise RunError(
            f"{directory}: {error}. What is finished is kept; when that is mended, go on with nearfar train --resume {directory}"
        ) from error
    return open_run(directory)


def prepare_run(recipe: Recipe, directory: Path, stages: Stages = silent) -> Prepared:
    """Read and tokenise the data of a recipe into a run directory; what is finished there is taken up as it is.

    Args:
        recipe: what to do.
        directory: the run directory; must exist.
        stages: told what is being done.

    Raises:
        DataError: where the data cannot be used.
    """
    data = directory / "data"
    if (data / "corpus.json").is_file():
        corpus = PairCorpus.open(data)
    else:
        corpus = prepare_corpus(recipe.data, data, recipe.seed, stages("reading"))
    frontend = _frontend(recipe, corpus, directory, stages)
    query_tokens = _tokens(corpus.texts, corpus.query_texts, "query", frontend, data / "query_tokens", stages)
    document_tokens = _tokens(
        corpus.texts, corpus.document_texts, "document", frontend, data / "document_tokens", stages
    )
    return Prepared(corpus, frontend, query_tokens, document_tokens)


def _train(recipe: Recipe, directory: Path, *, resume: bool, stages: Stages) -> None:
    """Every stage that is not finished yet."""
    prepared = prepare_run(recipe, directory, stages)
    if (directory / "fit.json").is_file():
        return
    if recipe.train.devices > 1:
        fit_in_processes(recipe, directory, resume=resume, stages=stages)
    else:
        fit(recipe, *prepared, directory, resume=resume, stages=stages)


def _withdraw(directory: Path) -> None:
    """Remove the beginnings of a run."""
    for part in ("data", "frontend"):
        shutil.rmtree(directory / part, ignore_errors=True)
    (directory / "recipe.yaml").unlink()
    with contextlib.suppress(OSError):  # something else lies there: it stays
        directory.rmdir()


def _write(path: Path, text: str) -> None:
    """Write a file so that it is whole or not there."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, "utf-8")
    part.replace(path)


def _frontend(recipe: Recipe, corpus: PairCorpus, directory: Path, stages: Stages) -> TextFrontend:
    folder = directory / "frontend"
    settings = folder / "settings.json"
    if not settings.is_file():
        folder.mkdir(exist_ok=True)
        tick = stages("learning the vocabulary")

        def counted() -> Iterator[str]:
            for text in corpus.training_texts():
                tick(1)
                yield text

        _write(settings, json.dumps(build_frontend(recipe, counted()).save(folder), indent=1))
    return _open_frontend(folder)


def _tokens(
    texts: TextFile, numbers: Ints, side: Side, frontend: TextFrontend, stem: Path, stages: Stages
) -> TokenFile:
    """Token ids of some texts; written once."""
    done = stem.with_suffix(".done")
    if done.is_file():
        return TokenFile(stem)
    tick = stages("tokenising queries" if side == "query" else "tokenising documents", len(numbers))

    def encoded() -> Iterator[npt.NDArray[np.int32]]:
        for start in range(0, len(numbers), 1024):
            block = [texts[int(number)] for number in numbers[start : start + 1024]]
            yield from frontend.encode(block, side)
            tick(len(block))

    tokens = TokenFile.write(stem, encoded())
    done.touch()
    return tokens
