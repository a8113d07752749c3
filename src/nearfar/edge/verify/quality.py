"""Whether a sample is good enough to enrol or verify with."""

from __future__ import annotations

from nearfar.edge.verify.picture_quality import picture_problem
from nearfar.edge.verify.problem import Problem
from nearfar.embedder import Item
from nearfar.errors import DataError
from nearfar.frontend.settings import AudioSettings, ImageSettings

__all__ = ["Problem", "check_quality"]


def check_quality(settings: object, item: Item) -> Problem | None:
    """Look for what makes a sample useless, before it is embedded.

    Args:
        settings: of the encoder's frontend, as in `bundle.manifest.frontend`: of pictures or of sound.
        item: a sample, as the encoder takes it.

    Returns:
        The first problem found, which `str` tells with its mend; None where there is none.

    Raises:
        DataError: the encoder takes neither pictures nor sound, or `item` is neither.
        MissingExtraError: the packages that read such items are not installed.
    """
    if isinstance(settings, ImageSettings):
        return picture_problem(settings, item)
    if isinstance(settings, AudioSettings):
        from nearfar.edge.verify.sound_quality import sound_problem

        return sound_problem(settings, item)
    raise DataError("only pictures and recordings can be checked: give a bundle of kind image-encoder or audio-encoder")
