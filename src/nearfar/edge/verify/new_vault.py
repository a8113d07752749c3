"""Making a vault: its directory appears complete, or not at all."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from nearfar.bundle import Bundle
from nearfar.bundle.swap import sync_directory
from nearfar.edge.keys import Ask, Key, create_key
from nearfar.edge.keys.ladder import parse_spec
from nearfar.edge.verify.attempts import AttemptBook, AttemptPolicy
from nearfar.edge.verify.clock import Moment
from nearfar.edge.verify.head import Head
from nearfar.edge.verify.scoring import Scoring
from nearfar.edge.verify.vault import create_vault
from nearfar.edge.verify.vault_bundle import check_kind, components_of, encoder_digest, match_threshold, put_bundle
from nearfar.errors import StoreError

_ABANDONED_SECONDS = 86_400.0


def make_vault(target: Path, bundle: Bundle, head: Head, key: str, ask: Ask) -> Key:
    """Make the directory of a vault, with its key and a copy of the bundle.

    Args:
        target: must not be there, or be empty.
        bundle: whose copy goes in.
        head: the first.
        key: where the key is kept.
        ask: called for the passphrase.

    Returns:
        The key.

    Raises:
        StoreError: there is something already, or it cannot be written.
        BundleError: the bundle has changed.
        KeyUnavailableError: the key cannot be kept there.
    """
    prefix = f".{target.name}.part-"
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise StoreError(f"{target}: there is something already; choose another folder, or open the vault there")
        parse_spec(key, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target.parent, prefix)
        # Of a name of its own: of two that make the same vault at once, the one who is late is refused.
        part = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
        try:
            secret = create_key(part, key, ask=ask)
            put_bundle(part, bundle)
            scoring = Scoring(bundle, head.components)
            create_vault(part, secret, head, scoring.stand_in()).close()
            if target.exists():
                target.rmdir()
            part.rename(target)
            sync_directory(target.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise StoreError(f"{target}: the vault cannot be made there: {error.strerror or error}") from error
    return secret


def _remove_abandoned(parent: Path, prefix: str) -> None:
    """Remove what was left by processes that were killed while they made a vault; nobody takes a day for a passphrase."""
    for place in parent.iterdir():
        with suppress(FileNotFoundError):  # of another one that has finished
            if place.name.startswith(prefix) and time.time() - place.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(place, ignore_errors=True)


def first_head(bundle: Bundle, threshold: float | None, policy: AttemptPolicy, now: Moment) -> Head:
    """What a vault begins with.

    Args:
        bundle: the encoder.
        threshold: least score of a match; None takes the bundle's.
        policy: how many failures there may be.
        now: the present.

    Raises:
        BundleError: the bundle is of another kind, or has no threshold.
        DataError: the threshold is no number.
    """
    check_kind(bundle)
    components = components_of(bundle)
    return Head(
        counter=0,
        clock=now,
        bundle=bundle.digest,
        encoder=encoder_digest(bundle, components),
        components=components,
        threshold=match_threshold(bundle, threshold),
        rows=b"",
        book=AttemptBook(policy),
        audit_first=1,
        audit_before=b"",
        audit_last=0,
        audit_link=b"",
        quiet={},
        witnessed=False,
    )
