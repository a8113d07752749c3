"""The third rung: a passphrase, asked at the terminal or taken from the environment, never from the command line."""

from __future__ import annotations

import getpass
import os
import unicodedata
import warnings
from collections.abc import Callable
from typing import Literal

from nearfar.edge.keys.primitives import stretch
from nearfar.edge.keys.record import PassphraseRung
from nearfar.errors import KeyUnavailableError

VARIABLE = "NEARFAR_PASSPHRASE"
NEW_VARIABLE = "NEARFAR_NEW_PASSPHRASE"
SHORTEST = 8

Asked = Literal["present", "first", "next"]
"""The passphrase that there is, the first one of a key, the one that takes the place of the present one."""

Ask = Callable[[Asked], str]
"""Called for a passphrase; an application with windows brings its own."""

_PROMPTS: dict[Asked, str] = {"present": "Passphrase: ", "first": "New passphrase: ", "next": "New passphrase: "}


def ask_at_terminal(which: Asked) -> str:
    """The passphrase from the environment where it is set there, otherwise typed without being shown.

    Raises:
        KeyUnavailableError: it is not set and there is no terminal, or what was typed twice differs.
    """
    variable = NEW_VARIABLE if which == "next" else VARIABLE
    if given := os.environ.get(variable):
        return given
    try:
        with warnings.catch_warnings():
            # Where the echo cannot be turned off getpass would warn and show what is typed.
            warnings.simplefilter("error", getpass.GetPassWarning)
            typed = getpass.getpass(_PROMPTS[which])
            if which != "present" and getpass.getpass("Once more: ") != typed:
                raise KeyUnavailableError("the two passphrases differ; nothing was changed, try again")
    except (EOFError, OSError, getpass.GetPassWarning) as error:
        raise KeyUnavailableError(
            f"a passphrase is needed and there is no terminal to ask for it; set {variable} in the environment"
        ) from error
    return typed


def check_new(passphrase: str) -> None:
    """Refuse a new passphrase that a computer would guess at once (NIST SP 800-63B-4 has 8 characters as the least).

    Raises:
        KeyUnavailableError: it is too short.
    """
    if len(_normal(passphrase)) < SHORTEST:
        raise KeyUnavailableError(
            f"the passphrase is shorter than {SHORTEST} characters; take five or more words chosen by chance"
        )


def passphrase_secret(passphrase: str, rung: PassphraseRung) -> bytes:
    """The 32 bytes that scrypt makes of a passphrase with the parameters in the record.

    Raises:
        KeyUnavailableError: the parameters make no sense, or there is too little memory.
    """
    try:
        return stretch(_normal(passphrase), salt=bytes.fromhex(rung.salt), n=rung.n, r=rung.r, p=rung.p)
    except (ValueError, MemoryError) as error:
        raise KeyUnavailableError(
            f"scrypt cannot run with n = {rung.n}, r = {rung.r}, p = {rung.p}: it wants a power of two and "
            f"{128 * rung.n * rung.r / 2**20:,.0f} MiB of memory"
        ) from error


def _normal(passphrase: str) -> str:
    # The same keys give other code points on another system; NFKC is what SP 800-63B-4 asks for.
    return unicodedata.normalize("NFKC", passphrase)
