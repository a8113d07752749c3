"""The encoder of rows that a recipe asks for."""

from __future__ import annotations

from collections.abc import Sequence

from nearfar.learn.encoders.table import TableEncoder
from nearfar.learn.encoders.table_mlp import TableMlp
from nearfar.learn.encoders.table_tokens import TableTokens
from nearfar.recipe.table import MlpEncoder, TableEncoderSettings


def build_table_encoder(settings: TableEncoderSettings, widths: Sequence[int]) -> TableEncoder:
    """An encoder with fresh weights, from torch's own random state.

    Args:
        settings: the recipe's encoder block.
        widths: how many codes each feature has.
    """
    if isinstance(settings, MlpEncoder):
        return TableMlp(widths, settings)
    return TableTokens(widths, settings)
