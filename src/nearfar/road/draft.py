"""A bundle before it is measured, and the place that it is made in."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.errors import BundleError

if TYPE_CHECKING:
    from nearfar.bundle import Bundle, BundleWriter, Manifest


@dataclass(frozen=True)
class Draft:
    """All of a bundle but what has to be measured on it.

    Attributes:
        files: graphs and vocabulary by name.
        manifest: without figures.
    """

    files: Mapping[str, bytes]
    manifest: Manifest

    def fill(self, writer: BundleWriter, **measured: Any) -> Bundle:
        """Write the bundle, with what was measured since in its manifest and card."""
        from nearfar.bundle import render_card

        manifest = self.manifest.model_copy(update=measured)
        for name, content in self.files.items():
            writer.add(name, content)
        return writer.finish(manifest, render_card(manifest))

    def written(self, folder: Path) -> Bundle:
        """The bundle as it is, to be measured."""
        from nearfar.bundle import BundleWriter

        with BundleWriter(folder) as writer:
            return self.fill(writer)


@contextmanager
def shipping(target: Path) -> Iterator[tuple[BundleWriter, Path]]:
    """A writer of the bundle at `target`, and a folder for drafts that is removed afterwards.

    Entered before anything is measured, so that a target that cannot be written is known before minutes of it.

    Raises:
        BundleError: the bundle cannot be written; what was there stays.
    """
    from nearfar.bundle import BundleWriter

    try:
        with BundleWriter(target) as writer, tempfile.TemporaryDirectory(prefix="nearfar-") as folder:
            yield writer, Path(folder)
    except OSError as error:  # what writes into the folder for temporary files; the writer has errors of its own
        raise BundleError(
            f"{target}: the bundle could not be made ({error}); what was there is untouched. "
            f"Free some space in {tempfile.gettempdir()}, or set TMPDIR to another folder."
        ) from error
