"""DenseCL: Wang et al., Dense Contrastive Learning for Self-Supervised Visual Pre-Training (arXiv:2011.09157), section 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.learn.encoders.heads import dense_mlp, mlp
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.losses import Negatives
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.methods.passes import two_views
from nearfar.learn.methods.stored import info_nce_with_stored
from nearfar.learn.negatives import MomentumEncoder, Queue
from nearfar.learn.views.batch import ViewBatch
from nearfar.recipe.methods import DenseCl as Settings


class Embedded(NamedTuple):
    """n pictures with s places each.

    Attributes:
        features: (n, 1, dim) of the encoder, of the first view.
        queries: (n, d) of the projector.
        keys: (n, d) by the slow copies, of the second view; without gradient, as are all keys.
        dense_queries: (n, s, d) of the dense projector.
        dense_keys: (n, s, d) by the slow copies: for each place of the first view its counterpart in the second.
        pooled_keys: (n, d) mean of the second view's dense keys.
        items: (n,) number of each picture.
    """

    features: Tensor
    queries: Tensor
    keys: Tensor
    dense_queries: Tensor
    dense_keys: Tensor
    pooled_keys: Tensor
    items: Tensor


class DenseCl(ImageMethod):
    """MoCo v2 on pictures and, besides, on the places of their maps."""

    def __init__(self, encoder: ImageEncoder, settings: Settings) -> None:
        super().__init__(encoder)
        self.settings, out = settings, settings.projector[-1]
        self.projector = mlp((encoder.dim, *settings.projector), norm="none")
        self.dense_projector = dense_mlp((encoder.width, *settings.projector))
        self.key_encoder, self.key_projector = MomentumEncoder(encoder), MomentumEncoder(self.projector)
        self.key_dense_projector = MomentumEncoder(self.dense_projector)
        self.queue, self.dense_queue = Queue(settings.queue, out), Queue(settings.dense_queue, out)

    def embed(self, batch: ViewBatch) -> Embedded:
        """Queries and their maps by the encoder, keys and theirs by its slow copy; places are matched by the encoders' maps."""
        first, second = two_views(batch)
        maps = self.encoder.maps(first)
        features, grid = self.encoder.pooled(maps), self.on_grid(maps)
        key_encoder = self.key_encoder.copy
        assert isinstance(key_encoder, ImageEncoder)
        with torch.no_grad():
            key_maps = key_encoder.maps(second)
            keys, key_grid = self.key_projector(key_encoder.pooled(key_maps)), self.on_grid(key_maps)
            dense_keys = self.key_dense_projector(key_grid).flatten(2).mT
            places = counterparts(grid.flatten(2).mT, key_grid.flatten(2).mT)
            matched = dense_keys.take_along_dim(places.unsqueeze(2), dim=1)
        dense_queries = self.dense_projector(grid).flatten(2).mT
        return Embedded(
            features.unsqueeze(1),
            self.projector(features),
            keys,
            dense_queries,
            matched,
            dense_keys.mean(dim=1),
            batch.items,
        )

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """(1 - lambda) L_q + lambda L_r, eq. 3: each against its own queue."""
        temperature, weight = self.settings.temperature, self.settings.dense_weight
        places = embedded.items.repeat_interleave(embedded.dense_queries.shape[1])
        dense = (embedded.dense_queries.flatten(0, 1), embedded.dense_keys.flatten(0, 1), places)
        whole = info_nce_with_stored(
            embedded.queries, embedded.keys, embedded.items, self.queue.contents(), temperature=temperature
        )
        of_places = info_nce_with_stored(*dense, self.dense_queue.contents(), temperature=temperature)
        return (1 - weight) * whole + weight * of_places

    def remember(self, embedded: Embedded) -> None:
        """Keys and pooled dense keys go into their queues."""
        nobody = torch.full_like(embedded.items, -1)
        self.queue.push(embedded.keys, embedded.items, nobody)
        self.dense_queue.push(embedded.pooled_keys, embedded.items, nobody)

    def follow(self, step: int, total_steps: int) -> None:
        """The slow copies keep `momentum` of their weights."""
        self.key_encoder.follow(self.encoder, self.settings.momentum)
        self.key_projector.follow(self.projector, self.settings.momentum)
        self.key_dense_projector.follow(self.dense_projector, self.settings.momentum)

    def dense_map(self, images: Tensor) -> Tensor:
        """Unit vectors (n, d, h', w') of the places of pictures (n, c, h, w), as the dense loss compares them."""
        return F.normalize(self.dense_projector(self.on_grid(self.encoder.maps(images))), dim=1)

    def on_grid(self, maps: Tensor) -> Tensor:
        """Maps (n, c, h', w') with at most `grid` places along a side."""
        height, width = (min(side, self.settings.grid) for side in maps.shape[2:])
        return maps if maps.shape[2:] == (height, width) else F.adaptive_avg_pool2d(maps, (height, width))


def counterparts(maps: Tensor, others: Tensor) -> Tensor:
    """For each place of each picture the place of the other view that is most alike by cosine, eq. 2.

    Args:
        maps: (n, s, c), vectors of the places of one view.
        others: (n, t, c), of the other.

    Returns:
        (n, s) int64, below t. It takes n * s * t numbers.
    """
    return (maps @ F.normalize(others, dim=2).mT).argmax(dim=2)
