"""Vectors of the items of a run over partners: by the bundle as a device runs it, by the model in float, and before training."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.bundle import Bundle
    from nearfar.edge import Encoder
    from nearfar.learn.joint import TowerEmbedder, TrainedJoint
    from nearfar.learn.methods.joint import Joint
    from nearfar.road.measure_joint import Embed

    Ints = npt.NDArray[np.int64]
    Vectors = npt.NDArray[np.float32]


def of_bundle(trained: TrainedJoint, bundle: Bundle) -> Embed:
    """By the device's own encoder, of the items as a user has them."""
    from nearfar.edge import Encoder

    @cache
    def encoder(tower: str) -> Encoder:
        return Encoder.open(bundle, tower=tower, threads=os.cpu_count() or 1)

    def embed(tower: str, numbers: Ints) -> Vectors:
        return encoder(tower).embed(trained.items[tower].raw(numbers))

    return embed


def of_model(trained: TrainedJoint, method: Joint, means: Mapping[str, Vectors]) -> Embed:
    """By the trained towers in float.

    Args:
        trained: the run.
        method: its trained method.
        means: tower -> what is taken from its vectors; nothing of towers that are not there.
    """
    import numpy as np

    @cache
    def embedder(tower: str) -> TowerEmbedder:
        return trained.embedder(tower, method)

    def embed(tower: str, numbers: Ints) -> Vectors:
        vectors = embedder(tower).embed(numbers)
        if tower not in means:
            return vectors
        centred = vectors - means[tower]
        return np.asarray(
            centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), np.finfo(np.float32).tiny), np.float32
        )

    return embed


def of_untrained(trained: TrainedJoint) -> Embed:
    """By the same towers before the first step."""

    @cache
    def embedder(tower: str) -> TowerEmbedder:
        return trained.untrained(tower)

    def embed(tower: str, numbers: Ints) -> Vectors:
        return embedder(tower).embed(numbers)

    return embed
