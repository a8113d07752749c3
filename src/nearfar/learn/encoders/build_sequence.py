"""The encoder of histories that a recipe asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from nearfar.learn.encoders.decayed_average import DecayedMean
from nearfar.learn.encoders.sequence import HistoryBody, SequenceEncoder
from nearfar.learn.encoders.sequence_gru import RecurrentBody
from nearfar.learn.encoders.sequence_transformer import CausalTransformer
from nearfar.recipe.events import DecayedAverage, SequenceEncoderSettings, SequenceGru, SequenceTransformer


def build_sequence_encoder(
    settings: SequenceEncoderSettings,
    *,
    length: int,
    gaps: int,
    context: Sequence[int] = (),
) -> SequenceEncoder:
    """The encoder that a recipe asks for, with fresh weights from torch's own generator.

    Args:
        settings: the recipe's encoder block.
        length: most actions of a history, `frontend.length`.
        gaps: how many numbers a gap in time may have, one more than `EventsSettings.gaps`.
        context: how many codes each feature of the context has; empty without one.
    """
    return SequenceEncoder(
        _body(settings, length),
        dim=settings.dim,
        gaps=gaps,
        dropout=settings.dropout,
        context=context,
    )


def _body(settings: SequenceEncoderSettings, length: int) -> HistoryBody:
    match settings:
        case SequenceTransformer():
            return CausalTransformer(
                dim=settings.dim,
                layers=settings.layers,
                heads=settings.heads,
                length=length,
                dropout=settings.dropout,
            )
        case SequenceGru():
            return RecurrentBody(dim=settings.dim, layers=settings.layers, dropout=settings.dropout)
        case DecayedAverage():
            return DecayedMean(half_life=settings.half_life, length=length)
        case _:
            assert_never(settings)
