"""The blocks of a recipe that differ from one kind of items to another, with the types that they then have."""

from __future__ import annotations

from typing import NamedTuple

from nearfar.recipe.audio import AudioEncoderSettings, AudioFrontendSettings, AudioSource, AudioViews
from nearfar.recipe.data import ImageSource
from nearfar.recipe.distil import Distil
from nearfar.recipe.events import (
    EventsFrontendSettings,
    EventsSource,
    EventsViews,
    NextAction,
    Recommend,
    SequenceEncoderSettings,
)
from nearfar.recipe.identity import IdentityMethodSettings
from nearfar.recipe.image_encoders import ImageEncoderBlock
from nearfar.recipe.images import ImageFrontendSettings
from nearfar.recipe.joint import AnyTower, JointEncoder, JointMethod, PairsSource, PartnersPairing
from nearfar.recipe.methods import AudioMethodSettings, ImageMethodSettings
from nearfar.recipe.pair_method import DualEncoder
from nearfar.recipe.series import (
    FaultContrast,
    SeriesEncoderSettings,
    SeriesFrontendSettings,
    SeriesSource,
    SeriesViews,
    Watch,
)
from nearfar.recipe.table import RowsSource, Scarf, TableEncoderSettings, TableFrontendSettings
from nearfar.recipe.text import TextEncoderSettings, TextFrontendSettings
from nearfar.recipe.views import Views

TextMethod = DualEncoder | Distil


class TextParts(NamedTuple):
    """The blocks of a recipe for text that are of its own kind."""

    frontend: TextFrontendSettings
    encoder: TextEncoderSettings
    method: TextMethod


class ImageParts(NamedTuple):
    """The blocks of a recipe for pictures that are of its own kind."""

    source: ImageSource
    frontend: ImageFrontendSettings
    views: Views
    encoder: ImageEncoderBlock
    method: ImageMethodSettings | IdentityMethodSettings


class AudioParts(NamedTuple):
    """The blocks of a recipe for recordings of sound that are of its own kind."""

    source: AudioSource
    frontend: AudioFrontendSettings
    views: AudioViews
    encoder: AudioEncoderSettings
    method: AudioMethodSettings | IdentityMethodSettings


class SeriesParts(NamedTuple):
    """The blocks of a recipe for series that are of its own kind."""

    source: SeriesSource
    frontend: SeriesFrontendSettings
    views: SeriesViews
    encoder: SeriesEncoderSettings
    method: FaultContrast
    watch: Watch


class TableParts(NamedTuple):
    """The blocks of a recipe for rows of tables that are of its own kind."""

    source: RowsSource
    frontend: TableFrontendSettings
    encoder: TableEncoderSettings
    method: Scarf


class EventsParts(NamedTuple):
    """The blocks of a recipe for events that are of its own kind."""

    source: EventsSource
    frontend: EventsFrontendSettings
    views: EventsViews
    encoder: SequenceEncoderSettings
    method: NextAction
    recommend: Recommend


class JointParts(NamedTuple):
    """The blocks of a recipe for several modalities in one space that are of its own kind."""

    source: PairsSource
    pairing: PartnersPairing
    towers: dict[str, AnyTower]
    encoder: JointEncoder
    method: JointMethod
