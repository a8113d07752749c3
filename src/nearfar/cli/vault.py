"""A vault that a person names, and the samples for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nearfar.bundle import Bundle
    from nearfar.edge.verify import Verifier


def open_or_make(directory: Path, bundle: Path | None, key: str, witness: Path | None) -> Verifier:
    """Open a vault; make it where there is none yet.

    Args:
        directory: of the vault.
        bundle: the encoder of a new one; where the vault is there, none or the one that it has.
        key: where the key of a new one is kept.
        witness: see `Verifier.open`.

    Raises:
        DataError: there is no vault yet and no bundle to make it with, or the vault has another one.
        NearfarError: the vault or the bundle cannot be used.
    """
    from nearfar.bundle import Bundle
    from nearfar.edge.verify import Verifier
    from nearfar.errors import DataError

    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        if bundle is None:
            raise DataError(f"{directory}: there is no vault yet; give the encoder to make it with: --bundle BUNDLE")
        record = Bundle.open(bundle).manifest.verification
        if record is not None and record.threshold is None:
            raise DataError(
                f"{bundle}: has no threshold yet from which samples match. Choose it by samples of your own people "
                f"(nearfar calibrate {bundle} PEOPLE/ -o ours.bundle), and give that bundle"
            )
        return Verifier.create(directory, bundle, key=key, witness=witness)
    verifier = Verifier.open(directory, witness=witness)
    if bundle is not None and Bundle.open(bundle).digest != verifier.bundle.digest:
        verifier.close()
        raise DataError(
            f"{directory}: has another bundle than {bundle}, and its templates are of that one; leave out --bundle. If the two differ in "
            f"their threshold only (`nearfar calibrate`): nearfar people {directory} --bundle {bundle}. Another encoder needs a new vault, "
            "and everybody enrols again"
        )
    return verifier


def sample_files(paths: Sequence[Path], bundle: Bundle) -> list[Path]:
    """The files that are meant: each as it is, of a folder the recordings or pictures in it, in name order.

    Raises:
        DataError: one is not there, or a folder holds none.
    """
    from nearfar.errors import DataError
    from nearfar.frontend.settings import AudioSettings
    from nearfar.sources.clips import CLIP_SUFFIXES
    from nearfar.sources.document import ReadReport
    from nearfar.sources.images import PICTURE_SUFFIXES
    from nearfar.sources.walk import walk_files

    suffixes = CLIP_SUFFIXES if isinstance(bundle.manifest.frontend, AudioSettings) else PICTURE_SUFFIXES
    files: list[Path] = []
    for path in paths:
        if path.is_file():
            files.append(path)
            continue
        if not path.is_dir():
            raise DataError(f"{path}: there is no such file or folder: give recordings or pictures of one identity")
        found = list(walk_files(path, lambda name: name.lower().endswith(suffixes), ReadReport()))
        if not found:
            raise DataError(f"{path}: holds no file of a kind that the encoder takes ({', '.join(suffixes)})")
        files += found
    return files
