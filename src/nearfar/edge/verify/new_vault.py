"""Making a vault: its directory appears complete, or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import numpy as np

from nearfar.bundle import Bundle, BundleWriter
from nearfar.bundle.swap import sync_directory
from nearfar.edge.keys import Ask, Key, create_key
from nearfar.edge.keys.ladder import parse_spec
from nearfar.edge.verify.attempts import AttemptBook, AttemptPolicy
from nearfar.edge.verify.head import Head
from nearfar.edge.verify.scoring import Scoring
from nearfar.edge.verify.vault import create_vault
from nearfar.errors import BundleError, DataError, StoreError

BUNDLE_FOLDER: Final = "bundle"
_COMPONENTS = 128


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
    part = target.with_name(f".{target.name}.part")
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise StoreError(f"{target}: there is something already; choose another folder, or open the vault there")
        parse_spec(key, target)
        shutil.rmtree(part, ignore_errors=True)  # of a process that was killed here
        part.mkdir(parents=True, mode=0o700)
        try:
            secret = create_key(part, key, ask=ask)
            with BundleWriter(part / BUNDLE_FOLDER) as writer:
                writer.copy(bundle)
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


def first_head(bundle: Bundle, threshold: float | None, policy: AttemptPolicy, now: float) -> Head:
    """What a vault begins with.

    Args:
        bundle: the encoder.
        threshold: least score of a match; None takes the bundle's.
        policy: how many failures there may be.
        now: seconds since 1970.

    Raises:
        BundleError: the bundle is of another kind, or has no threshold.
        DataError: the threshold is no number.
    """
    manifest = bundle.manifest
    if manifest.kind not in ("image-encoder", "audio-encoder") or manifest.similarity != "cosine":
        raise BundleError(
            f"{bundle.path}: is of kind {manifest.kind} ({manifest.similarity}), but identities are told apart by the angle of embeddings "
            "of pictures or sound: give such a bundle"
        )
    record = manifest.verification
    if threshold is None:
        threshold = None if record is None else record.threshold
    if threshold is None:
        raise BundleError(
            f"{bundle.path}: says no threshold of a match, because no trials support one: choose it by samples of your own people with "
            "`nearfar calibrate`, or give threshold=..."
        )
    if not np.isfinite(threshold):
        raise DataError(f"the threshold is {threshold}: give a finite number")
    components = min(_COMPONENTS, manifest.dim) if record is None else record.components
    return Head(
        counter=0,
        clock=now,
        bundle=bundle.digest,
        components=components,
        threshold=float(threshold),
        rows=b"",
        book=AttemptBook(policy),
        audit_first=1,
        audit_before=b"",
        audit_last=0,
        audit_link=b"",
        quiet={},
        witnessed=False,
    )
