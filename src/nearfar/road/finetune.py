"""Fine-tuning: the encoder of a finished run, with a linear layer on it that learns labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nearfar.errors import RecipeError
from nearfar.progress import Stages, silent
from nearfar.recipe import Recipe, parse_recipe
from nearfar.road.run import Run, train

# Ten labels a class are one step an epoch, and a hundred steps teach a linear layer: so many epochs for few labels, and a limit
# of steps for many.
_TRAINING = {
    "epochs": 200.0,
    "max_steps": 5_000,
    "batch_size": 128,
    "learning_rate": 0.01,
    "optimiser": "adamw",
    "weight_decay": 0.0001,
    "warmup": 0.1,
    "decay": "cosine",
    "validate_every": None,
    "early_stop": None,
}


def finetune(
    run: str | Path,
    labelled: str | Path | None = None,
    directory: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    stages: Stages = silent,
) -> Run:
    """Teach the encoder of a run over pictures their labels.

    Args:
        run: a finished run.
        labelled: a folder of pictures with a folder for each label, or a Parquet file with a column `label`; by default the
            pictures of the run, if they have labels.
        directory: of the new run; as in `train`.
        overrides: `key.path=value`, of the new run's recipe: `data.labels_per_class=10`, `method.frozen=true`.
        stages: told what is being done.

    Returns:
        The finished run; its bundle classifies as well as it embeds.

    Raises:
        RunError: where there is no finished run, or its encoder does not fit.
        RecipeError: where the run is not one over pictures, or the pictures have no labels.
        DataError: where the pictures cannot be used.
    """
    opened = Run.open(run)
    return train(finetuning_of(opened.recipe, opened.directory, labelled, overrides), directory, stages=stages)


def finetuning_of(
    recipe: Recipe, run: Path, labelled: str | Path | None = None, overrides: Sequence[str] = ()
) -> Recipe:
    """The recipe that fine-tunes the encoder of a run; see `finetune`."""
    if recipe.modality != "image":
        raise RecipeError(f"{run} did not learn from pictures; fine-tuning is for runs over pictures")
    values: dict[str, Any] = recipe.model_dump(mode="json")
    values["name"] = f"{recipe.name[:69]}-finetuned"
    values["description"] = f"{recipe.name}, fine-tuned to labels."
    values["encoder"]["start"] = str(run.resolve())
    values["views"]["local"] = None
    values["method"] = {"kind": "classifier"}
    values["train"] |= _TRAINING
    if labelled is not None:
        values["data"]["source"] = _source(Path(labelled).resolve())
    # Written (JSON is YAML) and read again, so that what is wrong with it is told as for every recipe.
    return parse_recipe(json.dumps(values), name=f"the fine-tuning of {run}", base=Path.cwd(), overrides=overrides)


def _source(path: Path) -> dict[str, Any]:
    if path.suffix == ".parquet":
        return {"kind": "image_table", "path": str(path), "columns": {"label": "label"}}
    return {"kind": "images", "path": str(path), "labels": "folder"}
