"""What a manifest says about where a model comes from."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nearfar.recipe import Recipe, dump_recipe
from nearfar.recipe.provenance import in_words, policy_of

if TYPE_CHECKING:
    from nearfar.bundle import Provenance

_VERSIONS = (
    "nearfar",
    "torch",
    "lightning",
    "onnx",
    "onnxruntime",
    "tokenizers",
    "pillow",
    "soundfile",
    "soxr",
    "numpy",
    "faiss-cpu",
)


def provenance_of(
    recipe: Recipe, *, fingerprint: str, data_counts: Mapping[str, int], augmentations: Sequence[Any]
) -> Provenance:
    """The provenance of a run, whatever it learned from.

    Args:
        recipe: what was done.
        fingerprint: digest of the data.
        data_counts: how much of what there was.
        augmentations: how items were changed at random before they were learned from; plain values, for JSON.
    """
    from nearfar.bundle import Provenance

    policy = policy_of(recipe)
    negatives, mining = in_words(policy)
    names = {
        "image": "training pictures",
        "audio": "training recordings",
        "series": "training windows",
        "events": "training histories",
        "joint": "training pairs of each two towers",
    }
    sampler = (
        f"permutation of all {names.get(recipe.modality, 'training rows')} per epoch, {recipe.train.batch_size} a batch"
    )
    if recipe.identity is not None:
        sampler = f"permutation of all identities, {recipe.identity.samples} samples of each, {recipe.train.batch_size} a batch"
    return Provenance(
        recipe=recipe.model_dump(mode="json"),
        recipe_sha256=hashlib.sha256(dump_recipe(recipe).encode()).hexdigest(),
        data_fingerprint=fingerprint,
        data_counts=dict(data_counts),
        pairing=tuple(p.model_dump(mode="json") for p in recipe.data.pairings),
        augmentations=tuple(augmentations),
        sampler=f"{sampler}, a function of (seed, step)",
        negatives=negatives,
        mining=mining,
        negative_policy=policy,
        seed=recipe.seed,
        versions=installed_versions(),
    )


def installed_versions() -> dict[str, str]:
    """Python, and the packages that a model depends on, with their versions."""
    found = {"python": platform.python_version()}
    for package in _VERSIONS:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
