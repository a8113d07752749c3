"""A small vision transformer (Dosovitskiy et al., arXiv:2010.11929), after the plain baseline of Beyer et al. (arXiv:2205.01580):
fixed positions of sines and cosines, and the mean over patches in place of a class token.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearfar.errors import RunError
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.encoders.transformer import Block
from nearfar.recipe.image_encoders import VitEncoder

_LONGEST_WAVE = 10_000.0


class VitImageEncoder(ImageEncoder):
    """Patches to vectors, positions, blocks of attention, a final norm.

    Args:
        settings: the recipe's encoder block.
        channels: of the pictures.
        size: height and width of a whole picture in pixels; smaller crops are stretched over the same positions.
    """

    def __init__(self, settings: VitEncoder, *, channels: int, size: int) -> None:
        super().__init__(channels)
        self.dim = self.width = settings.dim
        self.patch, self.places = settings.patch, size // settings.patch
        self.reduction = settings.patch
        self.patches = nn.Conv2d(channels, settings.dim, kernel_size=settings.patch, stride=settings.patch)
        self.dropout = nn.Dropout(settings.dropout)
        self.blocks = nn.ModuleList(
            Block(settings.dim, settings.heads, settings.feedforward, settings.dropout) for _ in range(settings.layers)
        )
        self.norm = nn.LayerNorm(settings.dim)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def maps(self, images: Tensor) -> Tensor:
        """The patch vectors after the last block, (n, dim, h / patch, w / patch).

        Raises:
            RunError: height or width is no multiple of the patch.
        """
        height, width = images.shape[2:]
        if height % self.patch or width % self.patch:
            raise RunError(
                f"a crop has {height} x {width} pixels, which encoder.patch ({self.patch}) does not divide: "
                "make the sizes of all crops multiples of it"
            )
        patches: Tensor = self.patches(self.normalised(images))
        n, dim, rows, columns = patches.shape
        positions = grid_positions(rows, columns, dim, over=self.places, device=patches.device)
        hidden = self.dropout(patches.flatten(2).transpose(1, 2) + positions)
        for block in self.blocks:
            hidden = block(hidden, None)  # every patch looks at every other
        last: Tensor = self.norm(hidden)
        return last.transpose(1, 2).reshape(n, dim, rows, columns)


def grid_positions(rows: int, columns: int, dim: int, *, over: int, device: torch.device | None = None) -> Tensor:
    """Sines and cosines of the centre of each place of a grid that is stretched over `over` x `over` places.

    Args:
        rows: places from top to bottom.
        columns: places from left to right.
        dim: components, a multiple of 4: a quarter each for sine and cosine of row and column.
        over: rows and columns of the grid of a whole picture. A crop of fewer places gets positions in between, as
            interpolated ones would be.
        device: where the result lies.

    Returns:
        (rows * columns, dim) float32, row by row.
    """
    frequencies = _LONGEST_WAVE ** -(torch.arange(dim // 4, device=device) / (dim // 4))
    down, across = (
        ((torch.arange(places, device=device) + 0.5) * (over / places) - 0.5)[:, None] * frequencies
        for places in (rows, columns)
    )
    of_rows = torch.cat([down.sin(), down.cos()], dim=1)[:, None].expand(rows, columns, dim // 2)
    of_columns = torch.cat([across.sin(), across.cos()], dim=1)[None].expand(rows, columns, dim // 2)
    return torch.cat([of_rows, of_columns], dim=2).flatten(0, 1)
