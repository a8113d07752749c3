"""The recipe: a whole run described in one YAML file. These models are the schema; their docstrings are its documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, Strict, model_validator

from nearfar.recipe.compress import Compress
from nearfar.recipe.data import Data, ImageSource, ImagesSource, ImageTableSource
from nearfar.recipe.distil import Distil, Teacher
from nearfar.recipe.image_encoders import ImageEncoderBlock, ImageEncoderSettings
from nearfar.recipe.images import ImageFrontendSettings
from nearfar.recipe.methods import ImageMethodSettings
from nearfar.recipe.negatives import Negatives
from nearfar.recipe.pair_method import DualEncoder
from nearfar.recipe.settings import Settings
from nearfar.recipe.text import (
    HuggingFaceEncoder,
    StaticEncoder,
    TextEncoderSettings,
    TextFrontendSettings,
    TransformerEncoder,
)
from nearfar.recipe.training import Evaluation, Export, Training
from nearfar.recipe.views import Views

Frontend = Annotated[TextFrontendSettings | ImageFrontendSettings, Field(discriminator="kind")]
Encoder = Annotated[TextEncoderSettings | ImageEncoderBlock, Field(discriminator="kind")]
TextMethod = DualEncoder | Distil
Method = Annotated[TextMethod | ImageMethodSettings, Field(discriminator="kind")]


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
    method: ImageMethodSettings


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
    views: Views | None = None
    """How views of a picture are drawn; only for pictures, where it has a default of its own."""
    encoder: Encoder
    """What turns an item into a vector."""
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

    @property
    def modality(self) -> Literal["text", "image"]:
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
        assert isinstance(method, ImageMethodSettings)
        assert self.views is not None
        return ImageParts(source, frontend, self.views, encoder, method)

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
    def _pictures_have_their_own_defaults(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        frontend = values.get("frontend")
        if not isinstance(frontend, Mapping) or frontend.get("kind") != "image":
            return values
        train, evaluate = values.get("train", {}), values.get("evaluate", {})
        own: dict[str, Any] = {"views": values.get("views") if values.get("views") is not None else {}}
        if isinstance(train, dict):
            own["train"] = {"early_stop": None, **train}
        if isinstance(evaluate, dict):
            own["evaluate"] = {"baselines": ("pixels", "untrained"), **evaluate}
        return {**values, **own}

    @model_validator(mode="after")
    def _parts_are_of_one_kind(self) -> Self:
        pictures = self.modality == "image"
        if pictures != isinstance(self.data.source, ImageSource):
            kinds = "image" if not pictures else "text"
            raise ValueError(
                f"data.source is '{self.data.source.kind}', which frontend '{self.modality}' does not read: set frontend.kind to {kinds}"
            )
        if pictures != isinstance(self.encoder, ImageEncoderSettings):
            raise ValueError(f"encoder '{self.encoder.kind}' does not take what frontend '{self.modality}' gives")
        if pictures != isinstance(self.method, ImageMethodSettings):
            raise ValueError(
                f"method '{self.method.kind}' is for {'text' if pictures else 'pictures'}: "
                + ("choose one for pictures, such as simclr" if pictures else "leave it out, or set it to dual_encoder")
            )
        if pictures and self.teacher is not None:
            raise ValueError("teacher is for text: leave it out")
        if not pictures and self.views is not None:
            raise ValueError("views are for pictures: leave them out")
        if not pictures and self.data.labels_per_class is not None:
            raise ValueError("data.labels_per_class is for pictures: leave it out")
        if pictures and self.negatives != Negatives():
            raise ValueError(
                f"negatives are set, but method '{self.method.kind}' has its own: leave them out, and see the keys of method"
            )
        odd = [name for name in self.evaluate.baselines if name == ("bm25" if pictures else "pixels")]
        if odd:
            raise ValueError(f"evaluate.baselines has {odd[0]}, which frontend '{self.modality}' cannot be measured by")
        metric = self.train.early_stop.metric if self.train.early_stop else None
        if metric is not None and pictures != (metric == "knn_accuracy"):
            raise ValueError(
                f"train.early_stop.metric is {metric}, which is not measured for frontend '{self.modality}'"
                + ("; set it to knn_accuracy" if pictures else "")
            )
        return self

    @model_validator(mode="after")
    def _image_parts_fit(self) -> Self:
        if self.modality != "image":
            return self
        source, _, views, encoder, method = self.of_images
        if views.local is not None and not method.takes_crops:
            raise ValueError(f"views.local are of no use to method '{method.kind}': leave them out, or choose swav")
        if method.needs_labels and isinstance(source, ImagesSource) and source.labels == "none":
            raise ValueError(
                f"method '{method.kind}' learns from labels: set data.source.labels to folder, or choose another such as simclr"
            )
        if method.needs_labels and isinstance(source, ImageTableSource) and source.columns.label is None:
            raise ValueError(
                f"method '{method.kind}' learns from labels: set data.source.columns.label, or choose another such as simclr"
            )
        if views.local is not None and views.local.size >= self.of_images.frontend.size:
            raise ValueError(
                f"views.local.size is {views.local.size}, but frontend.size is {self.of_images.frontend.size}: local views are smaller"
            )
        output_dim = getattr(encoder, "output_dim", None)
        if self.export.dim is not None and output_dim is not None and self.export.dim > output_dim:
            raise ValueError(f"export.dim is {self.export.dim}, but the encoder gives only {output_dim} dimensions")
        return self

    @model_validator(mode="after")
    def _text_parts_fit(self) -> Self:
        if self.modality != "text":
            return self
        frontend, encoder, method = self.of_text
        is_hf = isinstance(encoder, HuggingFaceEncoder)
        if frontend.tokenizer.kind == "model" and not is_hf:
            raise ValueError(
                f"frontend.tokenizer 'model' needs encoder 'hf'; encoder '{encoder.kind}' has no tokenizer of its own: "
                "use 'train' or 'file'"
            )
        if frontend.tokenizer.kind in ("train", "teacher") and is_hf:
            raise ValueError(
                "encoder 'hf' was pretrained with its own vocabulary: leave frontend.tokenizer out, or set it to {kind: model}"
            )
        # The width of a pretrained model without a projection is known only when it is loaded.
        output_dim = encoder.projection if isinstance(encoder, HuggingFaceEncoder) else encoder.output_dim
        for prefix in method.matryoshka:
            if output_dim is not None and prefix > output_dim:
                raise ValueError(f"method.matryoshka has {prefix}, but the encoder gives only {output_dim} dimensions")
        if self.export.dim is not None and output_dim is not None and self.export.dim > output_dim:
            raise ValueError(f"export.dim is {self.export.dim}, but the encoder gives only {output_dim} dimensions")
        return self

    @model_validator(mode="after")
    def _taught_parts_fit(self) -> Self:
        if self.modality != "text":
            return self
        frontend, encoder, method = self.of_text
        starts = isinstance(encoder, StaticEncoder) and encoder.start == "teacher"
        wanted = {
            "method distil": isinstance(method, Distil),
            "frontend.tokenizer teacher": frontend.tokenizer.kind == "teacher",
            "encoder.start teacher": starts,
        }
        for what, needs in wanted.items():
            if needs and self.teacher is None:
                raise ValueError(
                    f"{what} needs a teacher: set teacher.model to a bundle, a model directory or a hub name"
                )
        if (
            frontend.tokenizer.kind == "teacher"
            and isinstance(encoder, TransformerEncoder)
            and encoder.pooling == "cls"
        ):
            raise ValueError(
                "encoder.pooling is cls, but frontend.tokenizer 'teacher' puts no [CLS] before a text: set pooling to mean"
            )
        if not isinstance(method, Distil):
            if self.teacher is not None:
                raise ValueError(
                    f"teacher is given, but method '{method.kind}' does not learn from one: set method.kind to distil, or leave teacher out"
                )
            return self
        if method.towers == "separate":
            raise ValueError("method distil has one tower: leave method.towers out")
        if method.asymmetric:
            self._documents_stay_whole()
        if not method.pairs and self.negatives != Negatives():
            raise ValueError(
                "negatives are for the term pairs of method distil: set method.pairs above 0, or leave negatives out"
            )
        if method.matryoshka and not method.pairs:
            raise ValueError(
                "method.matryoshka is for the term pairs of method distil: set method.pairs above 0, or leave it out"
            )
        return self

    def _documents_stay_whole(self) -> None:
        steps = self.compress.steps if self.compress is not None else ()
        shortening = [
            f"compress.steps[{number}] (prefix)" for number, step in enumerate(steps) if step.kind == "prefix"
        ]
        if self.export.dim is not None:
            shortening.insert(0, "export.dim")
        if shortening:
            raise ValueError(
                f"{shortening[0]} keeps some components of a query only, but documents stay the teacher's, with all of theirs: leave it "
                "out; the step rank of compress makes the table smaller"
            )

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
