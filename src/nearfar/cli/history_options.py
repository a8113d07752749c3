"""What the commands that work on a history share: its options, and how it is opened."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from nearfar.edge.recommend.recommender import Recommender

Directory = Annotated[
    Path, typer.Argument(metavar="DIR", help="A directory with a sealed history and its recommender.")
]
Place = Annotated[
    str | None,
    typer.Option(
        "--key",
        help="Where the key must be: keystore:NAME, credential:NAME, passphrase or file:PATH. Without it the directory says where, and so "
        "does one that somebody else has put in its place.",
    ),
]
OtherBundle = Annotated[
    Path | None,
    typer.Option("--bundle", help="A newer recommender, which takes the place of the one in DIR from now on."),
]


def opened(directory: Path, bundle: Path | None = None, key: str | None = None) -> Recommender:
    """Open a history that is there."""
    from nearfar.edge.recommend.recommender import Recommender

    return Recommender.open(directory, bundle, key=key)


def moment(text: str, option: str) -> float:
    """Seconds since 1970 of a time as people write it; without a zone it is of this device's.

    Raises:
        DataError: it is none.
    """
    from nearfar.errors import DataError

    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{option} {text!r}: is no time; give one like 2025-01-31, 2025-01-31T18:30 or seconds since 1970"
        ) from error


def pairs(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    """`name=value` of an option that may be given many times.

    Raises:
        DataError: one is not written like this, or a name is given twice.
    """
    from nearfar.errors import DataError

    found: dict[str, str] = {}
    for text in texts or ():
        name, sign, value = text.partition("=")
        if not sign or not name or name in found:
            raise DataError(f"{option} {text!r}: write name=value, each name once")
        found[name] = value
    return found
