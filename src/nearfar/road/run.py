"""A training run from outside: start it, go on with it, make bundles of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.errors import MissingExtraError, RecipeError, RunError
from nearfar.progress import Stages, silent
from nearfar.recipe import Recipe, load_recipe
from nearfar.recipe.modality import PARTS, Modality
from nearfar.road.content_vectors import embed_content
from nearfar.road.enough_series import check_enough
from nearfar.road.export_audio import export_audio_bundle
from nearfar.road.export_events import export_recommender
from nearfar.road.export_images import export_image_bundle
from nearfar.road.export_joint import export_joint_bundle
from nearfar.road.export_series import export_series_bundle
from nearfar.road.export_table import export_table_bundle
from nearfar.road.export_text import export_text_bundle
from nearfar.road.teacher import teacher_of

if TYPE_CHECKING:
    from nearfar.bundle import Bundle
    from nearfar.edge.encoder import Encoder
    from nearfar.learn.clips import ClipEmbedder
    from nearfar.learn.joint import TowerEmbedder
    from nearfar.learn.model import TorchEmbedder
    from nearfar.learn.pictures import PictureEmbedder
    from nearfar.learn.rows import RowEmbedder
    from nearfar.learn.run import PreparedRun, TrainedRun
    from nearfar.learn.series import SeriesEmbedder
    from nearfar.recipe.compress import Compress

_AFTER_TRAINING = ("watch", "export", "evaluate")
"""Blocks of a recipe that training does not read."""

_EXPORTS: Mapping[Modality, Callable[..., Bundle]] = {
    "text": export_text_bundle,
    "image": export_image_bundle,
    "audio": export_audio_bundle,
    "series": export_series_bundle,
    "table": export_table_bundle,
    "events": export_recommender,
    "joint": export_joint_bundle,
}


@dataclass(frozen=True)
class Run:
    """A training that has ended: its directory, and what can be made of it.

    Attributes:
        directory: with `recipe.yaml`, `logs/`, `checkpoints/` and the prepared data.
    """

    directory: Path

    @classmethod
    def open(cls, directory: str | Path) -> Run:
        """Open a run that `train` finished.

        Raises:
            RunError: where the directory is no run, or its training has not ended.
        """
        run = cls(Path(directory))
        run._trained()
        return run

    def _trained(self) -> TrainedRun:
        trained: TrainedRun = training_wing().run.open_run(self.directory)
        return trained

    @property
    def recipe(self) -> Recipe:
        """What was done, with every default filled in."""
        return load_recipe(self.directory / "recipe.yaml")

    @property
    def skipped(self) -> tuple[dict[str, int], list[str]]:
        """What the reader passed over: how many for which reason, and the first few with file and line."""
        return self._trained().skipped

    @property
    def recognised(self) -> dict[str, str]:
        """Columns of sensor data that were taken by their name as `label` or `regime`; none of other data."""
        from nearfar.learn.series import TrainedSeries

        trained = self._trained()
        return trained.corpus.counts.recognised if isinstance(trained, TrainedSeries) else {}

    def embedder(
        self, *, dim: int | None = None, tower: str | None = None
    ) -> TorchEmbedder | PictureEmbedder | ClipEmbedder | SeriesEmbedder | RowEmbedder | TowerEmbedder:
        """The trained model in float, as an Embedder.

        Args:
            dim: keep only the first so many components; not of several modalities.
            tower: of several modalities, which tower embeds: items of the run by their numbers.

        Raises:
            RunError: it ranks items for histories, which are no items to embed; or it has no such tower, or has several and none is given.
        """
        from nearfar.learn.actions import TrainedActions
        from nearfar.learn.joint import TrainedJoint

        trained = self._trained()
        if isinstance(trained, TrainedJoint):
            towers = ", ".join(trained.corpus.sides)
            if tower is None or tower not in trained.corpus.sides:
                asked = "give tower" if tower is None else f"there is no tower {tower!r}"
                raise RunError(f"{self.directory} is a run over several modalities: {asked}, one of {towers}")
            if dim is not None:
                raise RunError(f"{self.directory}: dim cannot be cut of several modalities: leave it out")
            return trained.embedder(tower)
        if tower is not None:
            raise RunError(f"{self.directory} is a run with one encoder: leave tower out")
        if isinstance(trained, TrainedActions):
            raise RunError(
                f"{self.directory} is a run over events, which ranks items for histories: export it, and recommend with the bundle"
            )
        return trained.embedder(dim=dim)

    def export(
        self,
        target: str | Path | None = None,
        *,
        dim: int | None = None,
        quantise: str | None = None,
        baselines: Sequence[str] | None = None,
        compress: Compress | None = None,
        overrides: Sequence[str] = (),
        stages: Stages = silent,
    ) -> Bundle:
        """Make the bundle: small graphs, learned fusion, figures measured on what ships, card.

        A `compress` block, given here or in the recipe, says how it is made small, step by step, and what that costs is measured;
        then the recipe's `export` block does not count. `dim` or `quantise` given here are used in place of its steps.

        Args:
            target: directory of the bundle; by default `bundle` in the run's directory.
            dim: keep only the first so many components; by default as the recipe says.
            quantise: `int8` or `none`; by default as the recipe says.
            baselines: what to set beside the bundle, of those that `evaluate.baselines` takes; by default as the recipe says.
            compress: steps in place of those of the recipe.
            overrides: `key.path=value`, changes to the recipe's blocks `watch`, `export` and `evaluate`; the bundle records them.
            stages: told what is being done.

        Returns:
            The bundle, opened and verified.

        Raises:
            BundleError: where it cannot be written; what was there stays.
            InterruptedRunError: after Ctrl-C while a step of compression trains on.
            RecipeError: an override makes no sense, or is of a block that has had its effect in training.
            RunError: where the encoder has fewer than `dim` components, there is no such `quantise` or baseline, or a step of
                compression does not fit the encoder.
        """
        trained = self._trained()
        if overrides:
            trained = replace(trained, recipe=_changed(self.directory / "recipe.yaml", overrides))
        if compress is not None:
            if dim is not None or quantise is not None:
                raise RunError("dim and quantise are steps of compress (prefix and weights): give one or the other")
            trained = replace(trained, recipe=trained.recipe.model_copy(update={"compress": compress}))
        recipe = trained.recipe
        _check_known("quantise", [quantise] if quantise is not None else [], ("int8", "none"))
        _check_known("baselines", baselines or [], PARTS[recipe.modality].baselines)
        if dim is not None and dim < 1:
            raise RunError(f"dim is {dim}: give the number of components to keep, 1 or more")
        target = Path(target) if target is not None else self.directory / "bundle"
        options: dict[str, Any] = {
            "dim": dim or recipe.export.dim,
            "quantise": quantise or recipe.export.quantise,
            "baselines": recipe.evaluate.baselines if baselines is None else baselines,
            "stages": stages,
            "compress": recipe.compress if dim is None and quantise is None else None,
        }
        return _EXPORTS[recipe.modality](trained, target, **options)


def train(
    recipe: str | Path | Recipe,
    directory: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    stages: Stages = silent,
) -> Run:
    """Train what a recipe describes.

    Args:
        recipe: a YAML file or a recipe already read.
        directory: the run's directory, new or empty; by default `runs/<name>-<date>-<time>`.
        overrides: `key.path=value`, as `--set` on the command line; only with a file.
        stages: told what is being done.

    Returns:
        The finished run.

    Raises:
        RecipeError: where the recipe does not make sense.
        DataError: where the data cannot be used.
        RunError: where the directory is in use, or training failed or was interrupted.
    """
    if isinstance(recipe, Recipe) and overrides:
        raise RecipeError("overrides change a recipe file while it is read; this recipe has already been read")
    parsed = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides)
    if directory is None:
        directory = Path("runs") / f"{parsed.name}-{datetime.now():%Y%m%d-%H%M%S}"
    _train(parsed, Path(directory), resume=False, stages=stages)
    return Run(Path(directory))


def resume(directory: str | Path, *, stages: Stages = silent) -> Run:
    """Go on with a run that was interrupted or killed; the result is that of one that was not.

    Raises:
        RunError: where the directory is no run.
    """
    directory = Path(directory)
    if not (directory / "recipe.yaml").is_file():
        raise RunError(f"{directory} is not a run: it has no recipe.yaml. Give a directory that `nearfar train` made.")
    _train(load_recipe(directory / "recipe.yaml"), directory, resume=True, stages=stages)
    return Run(directory)


def _train(recipe: Recipe, directory: Path, *, resume: bool, stages: Stages) -> None:
    def teacher() -> Encoder:
        return teacher_of(recipe, directory, stages)

    def check(prepared: PreparedRun) -> None:
        from nearfar.learn.series import PreparedSeries

        if isinstance(prepared, PreparedSeries):
            check_enough(prepared.corpus, recipe)

    training_wing().run.train_run(
        recipe,
        directory,
        resume=resume,
        stages=stages,
        teacher=teacher if recipe.teacher else None,
        check=check,
        embed=embed_content(recipe.of_events.source.items) if recipe.modality == "events" else None,
    )


def training_wing() -> Any:
    """The package `nearfar.learn`, or a clear error where torch is not installed."""
    try:
        import nearfar.learn.run
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in {"torch", "lightning", "onnx", "onnxscript"}:
            raise MissingExtraError("train", "training") from error
        raise
    return nearfar.learn


def _changed(recipe: Path, overrides: Sequence[str]) -> Recipe:
    """The recipe of a run with other settings of what is done after training."""
    for override in overrides:
        block = override.partition("=")[0].strip().partition(".")[0]
        if block not in _AFTER_TRAINING:
            raise RecipeError(
                f"--set {override}: {block} had its effect in training; an export takes changes of {', '.join(_AFTER_TRAINING)}. "
                "For others train again"
            )
    return load_recipe(recipe, overrides)


def _check_known(name: str, given: Sequence[str], known: Sequence[str]) -> None:
    for value in given:
        if value not in known:
            raise RunError(f"{name}: there is no {value!r}; choose from {', '.join(known)}")
