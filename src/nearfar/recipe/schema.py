"""The recipe: a whole run described in one YAML file. These models are the schema; their docstrings are its documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, Strict, model_validator

from nearfar.recipe.audio import (
    AudioEncoderSettings,
    AudioFrontendSettings,
    AudioSource,
    AudioViews,
)
from nearfar.recipe.compress import Compress
from nearfar.recipe.data import Data, ImageSource, has_identities
from nearfar.recipe.distil import Teacher
from nearfar.recipe.events import (
    EventsFrontendSettings,
    EventsSource,
    EventsViews,
    NextAction,
    Recommend,
    SequenceEncoderSettings,
)
from nearfar.recipe.fits import FITS, identity_fits
from nearfar.recipe.identity import IdentityMethodSettings, IdentityPairing, Verification
from nearfar.recipe.image_encoders import ImageEncoderBlock
from nearfar.recipe.images import ImageFrontendSettings
from nearfar.recipe.joint import (
    TOWER_KINDS,
    AnyTower,
    JointEncoder,
    JointFrontend,
    JointMethod,
    PairsSource,
    PartnersPairing,
    TowerName,
)
from nearfar.recipe.joint_fits import towers_stand_alone
from nearfar.recipe.methods import AudioMethodSettings, ImageMethodSettings
from nearfar.recipe.modality import PARTS, Modality, items_of
from nearfar.recipe.negatives import Negatives
from nearfar.recipe.pair_method import DualEncoder
from nearfar.recipe.parts import (
    AudioParts,
    EventsParts,
    ImageParts,
    JointParts,
    SeriesParts,
    TableParts,
    TextMethod,
    TextParts,
)
from nearfar.recipe.series import (
    FaultContrast,
    SeriesEncoderSettings,
    SeriesFrontendSettings,
    SeriesSource,
    SeriesViews,
    Watch,
)
from nearfar.recipe.settings import Settings
from nearfar.recipe.table import RowsSource, Scarf, TableEncoderSettings, TableFrontendSettings
from nearfar.recipe.text import (
    TextEncoderSettings,
    TextFrontendSettings,
)
from nearfar.recipe.training import Evaluation, Export, Training
from nearfar.recipe.views import Views

Frontend = Annotated[
    TextFrontendSettings
    | ImageFrontendSettings
    | AudioFrontendSettings
    | SeriesFrontendSettings
    | TableFrontendSettings
    | EventsFrontendSettings
    | JointFrontend,
    Field(discriminator="kind"),
]
Encoder = Annotated[
    TextEncoderSettings
    | ImageEncoderBlock
    | AudioEncoderSettings
    | SeriesEncoderSettings
    | TableEncoderSettings
    | SequenceEncoderSettings
    | JointEncoder,
    Field(discriminator="kind"),
]
Method = Annotated[
    TextMethod | ImageMethodSettings | IdentityMethodSettings | FaultContrast | Scarf | NextAction | JointMethod,
    Field(discriminator="kind"),
]
AnyViews = Annotated[Views | AudioViews | SeriesViews | EventsViews, Field(discriminator="kind")]


class Recipe(Settings):
    """A whole run: data, frontend, views, encoder, method, negatives, training, evaluation, export."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]
    """Lower-case letters, digits, `.`, `_`, `-`; names the run's folder and the bundle."""
    description: str = ""
    """For people; goes into the card."""
    seed: Annotated[int, Strict(), Field(ge=0, lt=2**31)] = 0
    """Of all randomness: the same recipe, data and machine give the same weights."""
    data: Data
    frontend: Frontend = TextFrontendSettings()
    """How an item becomes what the encoder takes."""
    views: AnyViews | None = None
    """How views of a picture, of a recording or of a window of series are drawn, and of histories of users; only for these, where it has a default of its own."""
    encoder: Encoder
    """What turns an item into a vector."""
    towers: dict[TowerName, AnyTower] = Field(default={})
    """Encoders of several modalities, by name, that learn one space; with `data.source` of kind `pairs`. They stand in place of
    `frontend`, `views` and `encoder`, of which `encoder.dim` alone is left to say."""
    teacher: Teacher | None = None
    """A larger encoder of texts to learn from; for method `distil`."""
    method: Method = DualEncoder()
    """What it learns by."""
    negatives: Negatives = Negatives()
    """What is negative besides the other pairs of the batch, and what is not; for `dual_encoder`."""
    train: Training = Training()
    evaluate: Evaluation = Evaluation()
    export: Export = Export()
    compress: Compress | None = None
    """Steps that make what ships smaller, each measured; without them `export` says what ships."""
    watch: Watch | None = None
    """How healthy series become alarms on the device; only for series, where it has a default of its own."""
    verify: Verification | None = None
    """How samples are held against templates; only with the pairing `identity`, where it has a default of its own."""
    recommend: Recommend | None = None
    """How the device ranks; only for events, where it has a default of its own."""

    @property
    def identity(self) -> IdentityPairing | None:
        """The rule of who is who, where that is what is learned."""
        first = self.data.pairings[0]
        return first if isinstance(first, IdentityPairing) else None

    @property
    def modality(self) -> Modality:
        """What the items are."""
        return self.frontend.kind

    @property
    def of_text(self) -> TextParts:
        """The blocks of a recipe for text."""
        frontend, encoder, method = self.frontend, self.encoder, self.method
        assert isinstance(frontend, TextFrontendSettings)
        assert isinstance(encoder, TextEncoderSettings)
        assert isinstance(method, TextMethod)
        return TextParts(frontend, encoder, method)

    @property
    def of_images(self) -> ImageParts:
        """The blocks of a recipe for pictures."""
        source, frontend, encoder, method = self.data.source, self.frontend, self.encoder, self.method
        assert isinstance(source, ImageSource)
        assert isinstance(frontend, ImageFrontendSettings)
        assert isinstance(encoder, ImageEncoderBlock)
        assert isinstance(method, ImageMethodSettings | IdentityMethodSettings)
        assert isinstance(self.views, Views)
        return ImageParts(source, frontend, self.views, encoder, method)

    @property
    def of_audio(self) -> AudioParts:
        """The blocks of a recipe for recordings of sound."""
        source, frontend, encoder, method = self.data.source, self.frontend, self.encoder, self.method
        assert isinstance(source, AudioSource)
        assert isinstance(frontend, AudioFrontendSettings)
        assert isinstance(self.views, AudioViews)
        assert isinstance(encoder, AudioEncoderSettings)
        assert isinstance(method, AudioMethodSettings | IdentityMethodSettings)
        return AudioParts(source, frontend, self.views, encoder, method)

    @property
    def of_series(self) -> SeriesParts:
        """The blocks of a recipe for series."""
        source, frontend, encoder, method = self.data.source, self.frontend, self.encoder, self.method
        assert isinstance(source, SeriesSource)
        assert isinstance(frontend, SeriesFrontendSettings)
        assert isinstance(self.views, SeriesViews)
        assert isinstance(encoder, SeriesEncoderSettings)
        assert isinstance(method, FaultContrast)
        assert self.watch is not None
        return SeriesParts(source, frontend, self.views, encoder, method, self.watch)

    @property
    def of_table(self) -> TableParts:
        """The blocks of a recipe for rows of tables."""
        source, frontend, encoder, method = self.data.source, self.frontend, self.encoder, self.method
        assert isinstance(source, RowsSource)
        assert isinstance(frontend, TableFrontendSettings)
        assert isinstance(encoder, TableEncoderSettings)
        assert isinstance(method, Scarf)
        return TableParts(source, frontend, encoder, method)

    @property
    def of_events(self) -> EventsParts:
        """The blocks of a recipe for what users did."""
        source, frontend, encoder, method = self.data.source, self.frontend, self.encoder, self.method
        assert isinstance(source, EventsSource)
        assert isinstance(frontend, EventsFrontendSettings)
        assert isinstance(self.views, EventsViews)
        assert isinstance(encoder, SequenceEncoderSettings)
        assert isinstance(method, NextAction)
        assert self.recommend is not None
        return EventsParts(source, frontend, self.views, encoder, method, self.recommend)

    @property
    def of_joint(self) -> JointParts:
        """The blocks of a recipe for several modalities in one space."""
        source, pairing, encoder, method = self.data.source, self.data.pairings[0], self.encoder, self.method
        assert isinstance(source, PairsSource)
        assert isinstance(pairing, PartnersPairing)
        assert isinstance(encoder, JointEncoder)
        assert isinstance(method, JointMethod)
        return JointParts(source, pairing, self.towers, encoder, method)

    @model_validator(mode="before")
    @classmethod
    def _pretrained_encoder_brings_its_tokenizer(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        encoder, frontend = values.get("encoder"), values.get("frontend", {})
        if not isinstance(encoder, dict) or encoder.get("kind") != "hf" or not isinstance(frontend, dict):
            return values
        return {**values, "frontend": {"kind": "text", "tokenizer": {"kind": "model"}, **frontend}}

    @model_validator(mode="before")
    @classmethod
    def _each_kind_has_its_own_defaults(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        frontend = values.get("frontend")
        kind = frontend.get("kind") if isinstance(frontend, Mapping) else None
        if not isinstance(kind, str) or kind not in PARTS or kind == "text":
            return values
        train, evaluate = values.get("train", {}), values.get("evaluate", {})
        own: dict[str, Any] = {}
        if PARTS[kind].views is not None:
            views = values.get("views")
            own["views"] = {"kind": kind, **views} if isinstance(views, Mapping) else views or {"kind": kind}
        if isinstance(train, dict):
            own["train"] = {"early_stop": None, **train}
        if isinstance(evaluate, dict):
            own["evaluate"] = {"baselines": PARTS[kind].baselines, **evaluate}
        if kind == "series" and values.get("watch") is None:
            own["watch"] = {}
        if kind == "events" and values.get("recommend") is None:
            own["recommend"] = {}
        data = values.get("data")
        if values.get("verify") is None and isinstance(data, Mapping) and has_identities(data.get("pairings")):
            own["verify"] = {}
        return {**values, **own}

    @model_validator(mode="before")
    @classmethod
    def _towers_stand_for_frontend_and_encoder(cls, values: object) -> object:
        towers = values.get("towers") if isinstance(values, Mapping) else None
        if not isinstance(values, Mapping) or not isinstance(towers, Mapping) or not towers:
            return values
        # Validators of this kind run from the last one to the first, so this one comes before the defaults of each kind.
        method, encoder = values.get("method", {}), values.get("encoder", {})
        return {
            "frontend": {"kind": "joint"},
            **values,
            "encoder": {"kind": "joint", **encoder} if isinstance(encoder, Mapping) else encoder,
            "method": {"kind": "clip", **method} if isinstance(method, Mapping) else method,
            "towers": {name: _completed(name, tower) for name, tower in towers.items()},
        }

    @model_validator(mode="after")
    def _parts_are_of_one_kind(self) -> Self:
        towers_stand_alone(self)
        parts = PARTS[self.modality]
        fits = [
            isinstance(block, known)
            for block, known in (
                (self.data.source, parts.sources),
                (self.encoder, parts.encoders),
                (self.method, parts.methods),
            )
        ]
        if not fits[0]:
            reads = next(kind for kind, other in PARTS.items() if isinstance(self.data.source, other.sources))
            raise ValueError(
                f"data.source is '{self.data.source.kind}', which frontend '{self.modality}' does not read: set frontend.kind to {reads}"
            )
        if not fits[1]:
            raise ValueError(f"encoder '{self.encoder.kind}' does not take what frontend '{self.modality}' gives")
        if not fits[2]:
            raise ValueError(f"method '{self.method.kind}' is for {items_of(self.method, 'methods')}: {parts.method}")
        self._nothing_of_another_kind()
        odd = [name for name in self.evaluate.baselines if name not in parts.baselines]
        if odd:
            raise ValueError(f"evaluate.baselines has {odd[0]}, which frontend '{self.modality}' cannot be measured by")
        metric = self.train.early_stop.metric if self.train.early_stop else None
        if metric is not None and metric not in parts.metrics:
            raise ValueError(
                f"train.early_stop.metric is {metric}, which is not measured for frontend '{self.modality}'"
                + (f"; set it to {parts.metrics[0]}" if self.modality != "text" else "")
            )
        return self

    def _nothing_of_another_kind(self) -> None:
        """Refuse blocks that the items of the recipe have no use for."""
        kind, parts = self.modality, PARTS[self.modality]
        if kind != "text" and self.teacher is not None:
            raise ValueError("teacher is for text: leave it out")
        if self.views is not None and (parts.views is None or not isinstance(self.views, parts.views)):
            theirs = next(p.items for p in PARTS.values() if p.views is not None and isinstance(self.views, p.views))
            raise ValueError(f"views are for {theirs}: leave them out")
        if kind != "image" and self.data.labels_per_class is not None:
            raise ValueError("data.labels_per_class is for pictures: leave it out")
        if kind != "text" and self.negatives != Negatives():
            raise ValueError(
                f"negatives are set, but method '{self.method.kind}' has its own: leave them out, and see the keys of method"
            )
        if kind != "series" and self.watch is not None:
            raise ValueError("watch is for series: leave it out")
        if kind != "events" and self.recommend is not None:
            raise ValueError("recommend is for events: leave it out")
        if self.identity is None and self.verify is not None:
            raise ValueError(
                "verify is for the pairing 'identity': leave it out, or set data.pairings to [{kind: identity}]"
            )

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        FITS[self.modality](self)
        identity_fits(self)
        return self

    @model_validator(mode="after")
    def _something_to_stop_by(self) -> Self:
        if self.train.early_stop is not None and self.data.split.validation == 0:
            raise ValueError(
                "train.early_stop needs validation pairs: set data.split.validation above 0, or train.early_stop to null"
            )
        return self

    @model_validator(mode="after")
    def _negatives_fit(self) -> Self:
        queue, mined = self.negatives.queue, self.negatives.mined
        if queue is not None and queue.size < self.train.batch_size:
            raise ValueError(
                f"negatives.queue.size is {queue.size}, but train.batch_size is {self.train.batch_size}: the queue would not even "
                f"hold the documents of one step; set it to several times {self.train.batch_size}, or leave the queue out"
            )
        if mined is not None and all(pairing.kind == "spans" for pairing in self.data.pairings):
            raise ValueError(
                "negatives.mined looks for negatives of fixed queries, but data.pairings has only spans, which are drawn anew "
                "at every step: add another rule, or leave mined out"
            )
        return self


def _completed(name: object, tower: object) -> object:
    """A tower as it was written, with the kinds that its name and its own kind say."""
    if not isinstance(tower, Mapping):
        return tower
    kind = tower.get("kind", name if name in TOWER_KINDS else None)
    if kind is None:
        return tower
    inner: dict[str, Any] = {"kind": kind}
    for key in ("frontend", "views"):
        if isinstance(block := tower.get(key), Mapping):
            inner[key] = {"kind": kind, **block}
    encoder = tower.get("encoder")
    if kind == "text" and isinstance(encoder, Mapping) and encoder.get("kind") == "hf":
        inner["frontend"] = {"kind": "text", "tokenizer": {"kind": "model"}, **inner.get("frontend", {})}
    return {**tower, **inner}
