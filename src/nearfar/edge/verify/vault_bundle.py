"""The bundle in a vault: what of it templates depend on, and what a match is by it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

import numpy as np

from nearfar.bundle import Bundle
from nearfar.bundle.bundle import CARD, MANIFEST
from nearfar.edge.sealed.kept_bundle import bundle_folder
from nearfar.errors import BundleError, DataError, StoreError

_COMPONENTS: Final = 128


def check_kind(bundle: Bundle) -> None:
    """Refuse a bundle that tells no identities apart.

    Raises:
        BundleError: it is of another kind.
    """
    manifest = bundle.manifest
    if manifest.kind not in ("image-encoder", "audio-encoder") or manifest.similarity != "cosine":
        raise BundleError(
            f"{bundle.path}: is of kind {manifest.kind} ({manifest.similarity}), but identities are told apart by the angle of embeddings "
            "of pictures or sound: give such a bundle"
        )


def encoder_digest(bundle: Bundle, components: int) -> str:
    """SHA-256, in hex, of all that a score depends on: the weights and every other file, how input is made, and the cohort.

    A bundle that `nearfar calibrate` made has the digest of the one that it was made of: only its threshold and figures are others.

    Args:
        bundle: an encoder.
        components: of a template.
    """
    record = bundle.manifest.verification
    content = {
        "files": {name: digest for name, digest in bundle.sums.items() if name not in (MANIFEST, CARD)},
        "manifest": bundle.manifest.model_dump(
            mode="json", include={"kind", "towers", "dim", "similarity", "frontend"}
        ),
        "cohort": None if record is None else record.cohort,
        "components": components,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def match_threshold(bundle: Bundle, threshold: float | None) -> float:
    """The least score of a match.

    Args:
        bundle: says one where it was calibrated.
        threshold: in its place.

    Raises:
        BundleError: there is none.
        DataError: it is no number.
    """
    record = bundle.manifest.verification
    if threshold is None:
        threshold = None if record is None else record.threshold
    if threshold is None:
        raise BundleError(
            f"{bundle.path}: says no threshold of a match, because no trials support one: choose it by samples of your own people with "
            "`nearfar calibrate`, or give threshold=..."
        )
    if not np.isfinite(threshold):
        raise DataError(f"the threshold is {threshold}: give a finite number")
    return float(threshold)


def components_of(bundle: Bundle) -> int:
    """Of a template, by what the bundle says."""
    record = bundle.manifest.verification
    return min(_COMPONENTS, bundle.manifest.dim) if record is None else record.components


def open_bundle(directory: Path, digest: str) -> Bundle:
    """The bundle of a vault.

    Args:
        directory: of the vault.
        digest: that the vault's head says.

    Raises:
        StoreError: another one lies in its place.
        BundleError: it is missing, or damaged.
    """
    place = bundle_folder(directory, digest)
    bundle = Bundle.open(place)
    if bundle.digest != digest:
        raise StoreError(
            f"{place}: is not the bundle that the templates are of, so nothing can be compared; put the whole directory back from a "
            "backup, or make a new vault with this bundle and enrol again"
        )
    return bundle
