"""Whether a frontend goes with what takes its items, alone or in a tower. What does not is a ValueError that names both keys."""

from __future__ import annotations

from nearfar.recipe.audio import AudioFrontendSettings, AudioViews
from nearfar.recipe.series import (
    PatchTransformerEncoder,
    SeriesEncoderSettings,
    SeriesFrontendSettings,
    SpectralEncoder,
)


def seconds_fit(frontend: AudioFrontendSettings, views: AudioViews, *, at: str = "") -> None:
    """Refuse views of a length that recordings cannot have.

    Args:
        frontend: of recordings.
        views: of these.
        at: where both stand, as `towers.audio.`; empty for the recipe's own.

    Raises:
        ValueError: it names the keys.
    """
    if not frontend.frame <= views.seconds <= frontend.max_seconds:
        raise ValueError(
            f"{at}views.seconds is {views.seconds:g}, but must lie between {at}frontend.frame ({frontend.frame:g}) and "
            f"{at}frontend.max_seconds ({frontend.max_seconds:g})"
        )


def window_fits(frontend: SeriesFrontendSettings, encoder: SeriesEncoderSettings, *, at: str = "") -> None:
    """Refuse an encoder that windows of this length cannot be given to.

    Args:
        frontend: of series.
        encoder: what takes the windows.
        at: where both stand, as `towers.series.`; empty for the recipe's own.

    Raises:
        ValueError: it names the keys and the mend.
    """
    window = frontend.window
    if isinstance(encoder, PatchTransformerEncoder):
        if window % encoder.patch:
            raise ValueError(
                f"{at}encoder.patch is {encoder.patch}, which does not divide {at}frontend.window ({window}): change one of the two"
            )
        if encoder.width % encoder.heads:
            raise ValueError(
                f"{at}encoder.width is {encoder.width}, which is no multiple of {at}encoder.heads ({encoder.heads})"
            )
    if isinstance(encoder, SpectralEncoder) and encoder.segment > window:
        raise ValueError(
            f"{at}encoder.segment is {encoder.segment}, but {at}frontend.window has only {window} frames: lower it, or take a longer window"
        )
