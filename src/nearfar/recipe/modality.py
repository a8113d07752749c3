"""What the blocks of a recipe must be for each kind of items, and what is said where they are not."""

from __future__ import annotations

from dataclasses import dataclass
from types import UnionType
from typing import Literal

from nearfar.recipe.audio import AudioEncoderSettings, AudioSource, AudioViews
from nearfar.recipe.data import ImageSource, TextSource
from nearfar.recipe.distil import Distil
from nearfar.recipe.events import EventsSource, EventsViews, NextAction, SequenceEncoderSettings
from nearfar.recipe.identity import IdentityMethodSettings
from nearfar.recipe.image_encoders import ImageEncoderSettings
from nearfar.recipe.joint import JointEncoder, JointMethod, PairsSource
from nearfar.recipe.methods import AudioMethodSettings, ImageMethodSettings
from nearfar.recipe.pair_method import DualEncoder
from nearfar.recipe.series import FaultContrast, SeriesEncoderSettings, SeriesSource, SeriesViews
from nearfar.recipe.table import RowsSource, Scarf, TableEncoderSettings
from nearfar.recipe.text import TextEncoderSettings
from nearfar.recipe.views import Views

Modality = Literal["text", "image", "audio", "series", "table", "events", "joint"]
"""What the items are, by the kind of the frontend."""


@dataclass(frozen=True)
class Parts:
    """The blocks that go together.

    Attributes:
        items: what they are called in messages.
        sources: classes of `data.source`.
        encoders: of `encoder`.
        methods: of `method`.
        method: one to recommend.
        baselines: of `evaluate.baselines` that can be measured.
        metrics: of `train.early_stop.metric` that are.
        views: class of `views`; None where there are none.
    """

    items: str
    sources: type | UnionType
    encoders: type | UnionType
    methods: type | UnionType
    method: str
    baselines: tuple[str, ...]
    metrics: tuple[str, ...]
    views: type | None = None


PARTS: dict[Modality, Parts] = {
    "text": Parts(
        "text",
        TextSource,
        TextEncoderSettings,
        DualEncoder | Distil,
        "leave it out, or set it to dual_encoder",
        baselines=("bm25", "untrained"),
        metrics=("ndcg_at_10", "recall_at_1", "recall_at_10", "mrr_at_10"),
    ),
    "image": Parts(
        "pictures",
        ImageSource,
        ImageEncoderSettings,
        ImageMethodSettings | IdentityMethodSettings,
        "choose one for pictures, such as simclr",
        baselines=("pixels", "untrained"),
        metrics=("knn_accuracy",),
        views=Views,
    ),
    "audio": Parts(
        "recordings",
        AudioSource,
        AudioEncoderSettings,
        AudioMethodSettings | IdentityMethodSettings,
        "choose one for recordings, such as sup_con for identities or simclr for sounds without labels",
        baselines=("spectrum", "untrained"),
        metrics=("knn_accuracy",),
        views=AudioViews,
    ),
    "series": Parts(
        "series",
        SeriesSource,
        SeriesEncoderSettings,
        FaultContrast,
        "set it to fault_contrast",
        baselines=("untrained",),
        metrics=("fault_auc_pr",),
        views=SeriesViews,
    ),
    "table": Parts(
        "rows",
        RowsSource,
        TableEncoderSettings,
        Scarf,
        "set it to scarf",
        baselines=("columns", "untrained"),
        metrics=("knn_accuracy",),
    ),
    "events": Parts(
        "events",
        EventsSource,
        SequenceEncoderSettings,
        NextAction,
        "set it to next_action",
        baselines=("popularity", "item_knn", "transitions", "untrained"),
        metrics=("ndcg_at_10", "recall_at_10"),
        views=EventsViews,
    ),
    "joint": Parts(
        "partners of several modalities",
        PairsSource,
        JointEncoder,
        JointMethod,
        "set it to clip or siglip",
        baselines=("untrained",),
        metrics=("recall_at_1", "recall_at_10"),
    ),
}
"""The first of `baselines` that are possible are also the default of recipes that are not for text."""


def items_of(block: object, part: Literal["sources", "encoders", "methods"]) -> str:
    """What a block is for, in words."""
    return next(parts.items for parts in PARTS.values() if isinstance(block, getattr(parts, part)))
