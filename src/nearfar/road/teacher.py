"""A teacher is always a bundle; whatever else is given becomes one first, once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from nearfar.errors import BundleError, MissingExtraError
from nearfar.progress import Stages, silent

if TYPE_CHECKING:
    from nearfar.bundle import Bundle
    from nearfar.edge.encoder import Encoder
    from nearfar.recipe import Recipe


_FOLDER = "teacher"
"""Of a run, with the teacher that was imported for it."""


def open_teacher(
    source: str,
    folder: str | Path,
    *,
    revision: str | None = None,
    max_tokens: int | None = None,
    threads: int = 1,
    stages: Stages = silent,
) -> Encoder:
    """Open a teacher.

    Args:
        source: a bundle; or what `import_encoder` takes.
        folder: where an imported one is kept. It is used again by the next run with the same model, options and version of
            nearfar, and replaced otherwise.
        revision: of a hub repository.
        max_tokens: longest text of an imported one; a bundle has its own limit.
        threads: CPU threads of one `embed`.
        stages: told what is being done.

    Raises:
        BundleError: the bundle is damaged, embeds no texts, or cannot be written.
        RunError: the model cannot be imported.
        MissingExtraError: packages for importing it are not installed.
    """
    from nearfar.bundle import Bundle
    from nearfar.bundle.bundle import MANIFEST
    from nearfar.edge.encoder import Encoder

    path = Path(source)
    if (path / MANIFEST).is_file():
        bundle = Bundle.open(path)
        if bundle.manifest.kind != "text-dual-encoder":
            raise BundleError(
                f"{source}: is of kind {bundle.manifest.kind}, and a teacher must embed texts: give another bundle"
            )
        return Encoder.open(bundle, threads=threads)
    return Encoder.open(_imported(source, Path(folder), revision, max_tokens, stages), threads=threads)


def teacher_folder(directory: Path) -> Path:
    """Where the teacher of a finished run lies: in the run, if it was imported, or where the recipe says."""
    from nearfar.recipe import load_recipe

    imported = directory / _FOLDER
    settings = load_recipe(directory / "recipe.yaml").teacher
    return imported if settings is None or imported.is_dir() else Path(settings.model)


def teacher_of(recipe: Recipe, directory: Path, stages: Stages = silent) -> Encoder:
    """Open the teacher of a recipe; an imported one is kept in the run directory.

    Raises:
        BundleError, RunError, MissingExtraError: as `open_teacher`.
    """
    settings = recipe.teacher
    assert settings is not None
    return open_teacher(
        settings.model,
        directory / _FOLDER,
        revision=settings.revision,
        max_tokens=settings.max_tokens,
        threads=os.cpu_count() or 1,
        stages=stages,
    )


def _imported(source: str, folder: Path, revision: str | None, max_tokens: int | None, stages: Stages) -> Bundle:
    from nearfar.road.import_encoder import import_encoder

    kept = _kept(folder)
    if kept is not None and _is_of(kept, source, revision, max_tokens):
        return kept
    return import_encoder(source, folder, revision=revision, max_tokens=max_tokens, stages=stages)


def _kept(folder: Path) -> Bundle | None:
    from nearfar.bundle import Bundle

    try:
        return Bundle.open(folder)
    except BundleError:  # none, or a damaged one: it is made again
        return None


def _is_of(kept: Bundle, source: str, revision: str | None, max_tokens: int | None) -> bool:
    from nearfar import __version__

    try:
        from nearfar.learn.model_files import find_model
        from nearfar.road.import_encoder import origin
    except ImportError as error:
        raise MissingExtraError("train", "importing a model") from error
    provenance = kept.manifest.provenance
    if provenance.versions.get("nearfar") != __version__:
        return False
    if Path(source).exists():
        wanted = origin(find_model(source), revision=revision, quantise="none", max_tokens=max_tokens)
    else:
        wanted = {"source": source, "revision": revision, "quantise": "none", "max_tokens": max_tokens}
    return all(provenance.recipe.get(key) == value for key, value in wanted.items())
