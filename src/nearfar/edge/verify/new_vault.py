"""Making a vault: its directory appears complete, or not at all."""

from __future__ import annotations

from pathlib import Path

from nearfar.bundle import Bundle
from nearfar.edge.keys import Ask, Key, create_key
from nearfar.edge.keys.ladder import parse_spec
from nearfar.edge.sealed.kept_bundle import put_bundle
from nearfar.edge.sealed.new_folder import new_folder
from nearfar.edge.verify.attempts import AttemptBook, AttemptPolicy
from nearfar.edge.verify.clock import Moment
from nearfar.edge.verify.head import Head
from nearfar.edge.verify.scoring import Scoring
from nearfar.edge.verify.vault import create_vault
from nearfar.edge.verify.vault_bundle import check_kind, components_of, encoder_digest, match_threshold


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
    parse_spec(key, target)
    with new_folder(target, "vault") as part:
        secret = create_key(part, key, ask=ask)
        put_bundle(part, bundle)
        scoring = Scoring(bundle, head.components)
        create_vault(part, secret, head, scoring.stand_in()).close()
    return secret


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
