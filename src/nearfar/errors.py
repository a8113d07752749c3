"""The errors a user can meet. Every message says what was wrong, where, and what to do about it."""

from __future__ import annotations


class NearfarError(Exception):
    """The parent of every error that nearfar raises on purpose; its text is complete without a traceback."""


class RecipeError(NearfarError):
    """A recipe cannot be read or does not make sense; the message names file, line and key path."""


class DataError(NearfarError):
    """The user's data cannot be used as asked; the message names file and line or row."""


class BundleError(NearfarError):
    """A bundle is missing, damaged, altered, too new or unsafe to open."""


class StoreError(NearfarError):
    """What is kept on the device (a search index, the state of a monitor) is missing, damaged, or belongs to another bundle."""


class KeyUnavailableError(NearfarError):
    """A key cannot be made, found or unlocked; the message names the place and never the secret."""


class RunError(NearfarError):
    """A training run cannot start, go on or be resumed."""


class InterruptedRunError(RunError):
    """The user (or the system) asked a run to stop; its state has been saved."""


class MissingExtraError(NearfarError):
    """A part of nearfar was asked for whose packages are not installed."""

    def __init__(self, extra: str, needed_for: str) -> None:
        """Name the `extra` to install and what it is `needed_for`."""
        super().__init__(
            f'{needed_for} needs packages that are not installed. Install them with: pip install "nearfar[{extra}]"'
        )


class CollapseWarning(UserWarning):
    """A training run goes wrong in a way that can be seen before its end; the message names the cause that is suspected."""
