"""A run: a directory with a recipe, its prepared data, logs, checkpoints, and in the end a trained model."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from nearfar.errors import DataError, NearfarError, RunError
from nearfar.learn.actions import PreparedActions, TrainedActions
from nearfar.learn.clips import PreparedClips, TrainedClips
from nearfar.learn.data.item_content import Embed
from nearfar.learn.data.whole import write_whole
from nearfar.learn.joint import PreparedJoint, TrainedJoint
from nearfar.learn.pairs import PreparedPairs, TrainedPairs
from nearfar.learn.pictures import PreparedPictures, TrainedPictures
from nearfar.learn.rows import PreparedRows, TrainedRows
from nearfar.learn.series import PreparedSeries, TrainedSeries
from nearfar.learn.teaching import TeacherEncoder
from nearfar.learn.trainer.fit import fit
from nearfar.learn.trainer.processes import fit_in_processes
from nearfar.progress import Stages, silent
from nearfar.recipe import Recipe, dump_recipe, load_recipe
from nearfar.recipe.modality import Modality

PreparedRun = (
    PreparedPairs | PreparedPictures | PreparedClips | PreparedSeries | PreparedRows | PreparedActions | PreparedJoint
)
"""The data of a run, by what it is of."""

TrainedRun = TrainedPairs | TrainedPictures | TrainedClips | TrainedSeries | TrainedRows | TrainedActions | TrainedJoint
"""A finished run, by what it learned from."""

_PREPARED: Mapping[Modality, type[PreparedRun]] = {
    "text": PreparedPairs,
    "image": PreparedPictures,
    "audio": PreparedClips,
    "series": PreparedSeries,
    "table": PreparedRows,
    "events": PreparedActions,
    "joint": PreparedJoint,
}


def open_run(directory: Path) -> TrainedRun:
    """Open a finished run.

    Raises:
        RunError: where the directory is no run, or its training has not ended.
    """
    check_is_run(directory)
    if not (directory / "fit.json").is_file():
        raise RunError(f"the training in {directory} has not ended: go on with nearfar train --resume {directory}")
    recipe = load_recipe(directory / "recipe.yaml")
    return open_prepared(recipe, directory).trained(recipe, directory)


def check_is_run(directory: Path) -> None:
    """Raise RunError unless there is a run in the directory."""
    if not (directory / "recipe.yaml").is_file():
        raise RunError(f"{directory} is not a run: it has no recipe.yaml. Give a directory that `nearfar train` made.")


def open_prepared(recipe: Recipe, directory: Path) -> PreparedRun:
    """Open the data that the run of a recipe has prepared."""
    return _PREPARED[recipe.modality].open(directory)


def prepare_run(
    recipe: Recipe,
    directory: Path,
    stages: Stages = silent,
    teacher: Callable[[], TeacherEncoder] | None = None,
    embed: Embed | None = None,
) -> PreparedRun:
    """Read the data of a recipe into a run directory, which must exist; what is finished there is taken up as it is.

    Args:
        recipe: what to do.
        directory: of the run.
        stages: told what is being done.
        teacher: opens the teacher of the recipe.
        embed: makes vectors of pictures and texts of items, where the recipe names bundles for that.

    Raises:
        DataError: where the data cannot be used.
    """
    kind = _PREPARED[recipe.modality]
    if issubclass(kind, PreparedPairs):
        return kind.prepare(recipe, directory, stages, teacher)
    if issubclass(kind, PreparedActions):
        return kind.prepare(recipe, directory, stages, embed)
    return kind.prepare(recipe, directory, stages)


def train_run(
    recipe: Recipe,
    directory: Path,
    *,
    resume: bool = False,
    stages: Stages = silent,
    teacher: Callable[[], TeacherEncoder] | None = None,
    check: Callable[[PreparedRun], None] | None = None,
    embed: Embed | None = None,
) -> TrainedRun:
    """Prepare the data of a recipe and train on it. Every stage that an earlier attempt finished is taken up as it is.

    Args:
        recipe: what to do.
        directory: the run directory; made if missing.
        resume: go on with the run that is there.
        stages: told what is being done.
        teacher: opens the teacher of the recipe, where it has one.
        check: raises a NearfarError where the prepared data is not worth training on; asked before the first step, not of a run that
            goes on.
        embed: makes vectors of pictures and texts of items, where the recipe names bundles for that.

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
        write_whole(directory / "recipe.yaml", dump_recipe(recipe))
    else:
        check_is_run(directory)
    try:
        _train(recipe, directory, resume=resume, stages=stages, teacher=teacher, check=check, embed=embed)
    except NearfarError as error:
        begun = (directory / "checkpoints").exists() or (_is_prepared(directory) and not isinstance(error, DataError))
        if not resume and not begun:
            _withdraw(directory)  # nothing was learned, and the next try may want the same directory
        raise
    except OSError as error:  # a full disk, most of all
        raise RunError(
            f"{directory}: {error}. What is finished is kept; when that is mended, go on with nearfar train --resume {directory}"
        ) from error
    return open_run(directory)


def _train(
    recipe: Recipe,
    directory: Path,
    *,
    resume: bool,
    stages: Stages,
    teacher: Callable[[], TeacherEncoder] | None,
    check: Callable[[PreparedRun], None] | None,
    embed: Embed | None,
) -> None:
    """Every stage that is not finished yet."""
    prepared = prepare_run(recipe, directory, stages, teacher, embed)
    if (directory / "fit.json").is_file():
        return
    if check is not None and not resume:
        check(prepared)
    if recipe.train.devices > 1:
        fit_in_processes(recipe, directory, resume=resume, stages=stages)
    else:
        fit(recipe, prepared, directory, resume=resume, stages=stages)


def _is_prepared(directory: Path) -> bool:
    wholes = ("corpus.json", "pictures.json", "clips.json", "series.json", "rows.json", "actions.json", "joint.json")
    return any((directory / "data" / name).is_file() for name in wholes)


def _withdraw(directory: Path) -> None:
    """Remove the beginnings of a run."""
    for part in ("data", "frontend", "logs"):
        shutil.rmtree(directory / part, ignore_errors=True)
    (directory / "recipe.yaml").unlink()
    with contextlib.suppress(OSError):  # something else lies there: it stays
        directory.rmdir()
