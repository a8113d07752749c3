"""SCARF: Bahri et al., Self-Supervised Contrastive Learning using Random Feature Corruption (arXiv:2106.15147), algorithm 1."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from nearfar.learn.data.table_batches import RowBatch
from nearfar.learn.encoders.heads import mlp
from nearfar.learn.encoders.table import TableEncoder
from nearfar.learn.losses import Negatives, clip
from nearfar.learn.methods.passes import Projected, each
from nearfar.recipe.table import Scarf as Settings


class Scarf(nn.Module):
    """A row and a copy with replaced cells find each other among the copies, and the rows, of the batch.

    Args:
        encoder: what is trained, and what ships without the projector.
        settings: the recipe's method block.
    """

    def __init__(self, encoder: TableEncoder, settings: Settings) -> None:
        super().__init__()
        self.encoder, self.temperature = encoder, settings.temperature
        # Without BatchNorm: a batch may then be embedded in parts.
        self.projector = mlp((encoder.dim, *settings.projector), norm="none")

    def embed(self, batch: RowBatch) -> Projected:
        """Both views through encoder and projector."""
        features = self.encoder(batch.values.flatten(0, 1), batch.codes.flatten(0, 1)).view(len(batch.values), 2, -1)
        return Projected(features, each(self.projector, features))

    def loss(self, embedded: Projected, further: Sequence[Negatives] = ()) -> Tensor:
        """InfoNCE both ways; the paper has the one from row to copy."""
        return clip(*embedded.projections.unbind(1), temperature=self.temperature)
