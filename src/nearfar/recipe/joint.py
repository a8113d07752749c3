"""The blocks of a recipe for one space of several modalities. The docstrings are their documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, Strict

from nearfar.recipe.audio import AudioFrontendSettings, AudioViews, EcapaEncoder, MelCnnEncoder
from nearfar.recipe.image_encoders import CnnEncoder, MobileNetEncoder, ResNetEncoder, TimmEncoder, VitEncoder
from nearfar.recipe.images import ImageFrontendSettings
from nearfar.recipe.pair_method import Temperature
from nearfar.recipe.pairing import PairingRule
from nearfar.recipe.series import (
    DilatedCnnEncoder,
    PatchTransformerEncoder,
    SeriesFrontendSettings,
    SeriesViews,
    SpectralEncoder,
)
from nearfar.recipe.settings import Amount, Count, Dimension, Fraction, Settings
from nearfar.recipe.table import FeatureTokensEncoder, MlpEncoder, TableFrontendSettings
from nearfar.recipe.text import HuggingFaceEncoder, StaticEncoder, TextFrontendSettings, TransformerEncoder
from nearfar.recipe.views import Views

TowerName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=24)]
NonNegative = Annotated[float, Strict(), Field(ge=0.0, le=1000.0)]
Similarity = Annotated[float, Strict(), Field(gt=0.0, le=1.0)]


def _listed(names: object) -> object:
    return [names] if isinstance(names, str) else names


ColumnNames = Annotated[
    tuple[str, ...], Field(min_length=1), BeforeValidator(_listed, json_schema_input_type=str | tuple[str, ...])
]

TOWER_KINDS = ("text", "image", "audio", "series", "table")
"""What a tower can be for; a tower of such a name need not say its kind."""


class PairFile(Settings):
    """A table of which a row says what belongs together: a picture and its captions, a recording and its words. A row may have more
    than two sides, and lack some.
    """

    path: Path
    """A .csv, .jsonl or .parquet file; relative paths start at the recipe's own folder."""
    columns: dict[TowerName, ColumnNames] = Field(min_length=2)
    """Tower -> the column, or the columns, with its side of a row. A cell of text is a text or a list of texts, each a caption of its
    own. A cell of a picture or a recording has encoded bytes, a struct with them as `bytes`, or the path of a file, relative to the
    table; one of series the path of a CSV or Parquet file of samples. The columns of a table tower are the columns of its row."""
    label: str | None = None
    """Column that says what a row is of (a class, a part number): rows of one label are no negatives of each other."""
    split: str | None = None
    """Column that says `train`, `validation` or `test`; without it parts are drawn, as `data.split` has it."""
    group: str | None = None
    """Column that says what belongs together (a speaker, a machine), for a split by group."""
    weight: Amount = 1.0
    """How much of each batch its pairs are, beside those of other files; 2 takes twice as many as 1."""


class PairsSource(Settings):
    """Tables that say which items of different modalities belong together. Two modalities that no table pairs meet through one that
    both are paired with.
    """

    kind: Literal["pairs"]
    files: tuple[PairFile, ...] = Field(min_length=1)
    """One or more; each may pair other towers."""


class PartnersPairing(PairingRule):
    """What stands in one row of a table belongs together."""

    kind: Literal["partners"]
    anchor: TowerName | None = None
    """Only pairs with this tower are learned from, so that all others meet through it (ImageBind, arXiv:2305.05665); `null` takes every
    two sides of a row."""
    similar: Similarity | None = 0.8
    """Texts whose letter trigrams have at least this cosine are taken to say the same: their partners are no negatives of each other.
    `null` takes only equal texts so."""
    per_row: Count = 1
    """Links that a batch has of each of its rows. Where a picture has many captions, 4 or 8 show each to so many of them and takes it
    through its encoder but once; a batch then has so many times fewer rows."""
    captions: NonNegative = 0.0
    """Weight of another kind of pairs: two captions of one row find each other, so that the text tower learns what is said of the same
    thing, also in another language."""


class BundleEncoder(Settings):
    """The encoder of a finished bundle as it is, with its frontend: it stays frozen, and a projection is learned on top (locked-image
    tuning, arXiv:2111.07991).
    """

    kind: Literal["bundle"]
    path: Path
    """The bundle; relative paths start at the recipe's own folder."""


class HuggingFaceImageEncoder(Settings):
    """The vision tower of a model of `transformers`: CLIP, SigLIP, ViT, DINOv2 and alike. Code inside a model repository is never run."""

    kind: Literal["hf"]
    model: str
    """A local directory or a hub name; a hub name is fetched by `transformers` from wherever HF_ENDPOINT points. Mind its licence."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""


class HuggingFaceAudioEncoder(Settings):
    """The sound tower of a model of `transformers`: wav2vec2, HuBERT, WavLM (samples in), or CLAP (a spectrogram in the graph)."""

    kind: Literal["hf"]
    model: str
    """A local directory or a hub name; a hub name is fetched by `transformers` from wherever HF_ENDPOINT points. Mind its licence."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""


class TowerSettings(Settings):
    """What every tower can be told."""

    start: Path | None = None
    """A run of `nearfar train` over items of this kind, or a checkpoint of one, whose encoder's weights are the start."""
    frozen: bool = False
    """The encoder stays as it starts, and only the projection is learned (locked-image tuning, arXiv:2111.07991): for pretrained
    towers, and little data."""
    projection: Literal["auto", "linear", "mlp", "none"] = "auto"
    """What stands between the encoder and the common space: a linear map, one with a hidden layer, or nothing. `auto` takes nothing for a
    static encoder of texts whose vectors have the components of the space already, and else the linear map."""
    rate: Amount = 1.0
    """Learning rate of its encoder, as a multiple of `train.learning_rate`; a pretrained one wants about 0.01 to 0.1."""


class TextTower(TowerSettings):
    """A tower for texts."""

    kind: Literal["text"]
    frontend: TextFrontendSettings = TextFrontendSettings()
    encoder: Annotated[
        StaticEncoder | TransformerEncoder | HuggingFaceEncoder | BundleEncoder, Field(discriminator="kind")
    ] = StaticEncoder(kind="static", dim=128)
    word_dropout: Fraction = 0.0
    """Share of the words of a text that are left out at random while training; one always stays."""


class ImageTower(TowerSettings):
    """A tower for pictures."""

    kind: Literal["image"]
    frontend: ImageFrontendSettings = ImageFrontendSettings(kind="image")
    encoder: Annotated[
        CnnEncoder
        | ResNetEncoder
        | MobileNetEncoder
        | VitEncoder
        | TimmEncoder
        | HuggingFaceImageEncoder
        | BundleEncoder,
        Field(discriminator="kind"),
    ] = CnnEncoder(kind="cnn")
    views: Views | None = None
    """How pictures are changed while training; `null` shows them as they are."""


class AudioTower(TowerSettings):
    """A tower for recordings of sound."""

    kind: Literal["audio"]
    frontend: AudioFrontendSettings = AudioFrontendSettings(kind="audio")
    encoder: Annotated[
        EcapaEncoder | MelCnnEncoder | HuggingFaceAudioEncoder | BundleEncoder, Field(discriminator="kind")
    ] = MelCnnEncoder(kind="mel_cnn")
    views: AudioViews | None = None
    """How recordings are changed while training; `null` takes them as they are."""


class SeriesTower(TowerSettings):
    """A tower for windows of sensor data."""

    kind: Literal["series"]
    frontend: SeriesFrontendSettings = SeriesFrontendSettings(kind="series")
    encoder: Annotated[
        DilatedCnnEncoder | PatchTransformerEncoder | SpectralEncoder | BundleEncoder, Field(discriminator="kind")
    ] = DilatedCnnEncoder(kind="dilated_cnn", dim=64)
    views: SeriesViews | None = None
    """How windows are changed while training; `null` takes them as they are."""


class TableTower(TowerSettings):
    """A tower for rows of numbers and categories."""

    kind: Literal["table"]
    frontend: TableFrontendSettings = TableFrontendSettings(kind="table")
    encoder: Annotated[MlpEncoder | FeatureTokensEncoder | BundleEncoder, Field(discriminator="kind")] = MlpEncoder(
        kind="mlp"
    )


AnyTower = Annotated[
    TextTower | ImageTower | AudioTower | SeriesTower | TableTower,
    Field(discriminator="kind"),
]


class JointFrontend(Settings):
    """Each tower has a frontend of its own; see `towers`."""

    kind: Literal["joint"]


class JointEncoder(Settings):
    """One space for all towers."""

    kind: Literal["joint"]
    dim: Dimension = 128
    """Components of an embedding, whatever it is of."""

    @property
    def output_dim(self) -> int:
        """Dimension of the embeddings."""
        return self.dim


class HardPairs(Settings):
    """Batches with near neighbours in them: pairs whose items are found near those of another pair by the index, though they do not
    belong to it, share a batch with it (ANCE, arXiv:2007.00808, for batches).
    """

    share: Annotated[float, Strict(), Field(gt=0.0, le=0.9)] = 0.5
    """Share of a batch that is chosen so; the rest is drawn at random."""
    depth: Count = 20
    """Nearest items looked at."""
    skip: Annotated[int, Strict(), Field(ge=0, le=10_000)] = 0
    """Nearest of them left out, not counting partners: they are often partners that nobody wrote down."""
    every: Count = 200
    """Steps between two searches, each of which embeds the training items."""
    start: Fraction = 0.2
    """Share of the steps before the first."""


class LearnedTemperature(Temperature):
    """The temperature of the objective."""

    learned: bool = True
    """Whether it is trained along, within the bounds of its paper."""


class _OfTowers(Settings):
    """What both objectives can be told."""

    hard: HardPairs | None = None
    """Look for hard negatives with the index; `null` leaves batches to chance."""


class Clip(_OfTowers):
    """Each item finds its partner in the batch, both ways (CLIP, arXiv:2103.00020)."""

    kind: Literal["clip"]
    temperature: LearnedTemperature = LearnedTemperature(initial=0.07)
    """How sharply the nearest negatives stand out; each kind of pairs learns its own."""


class SigLip(_OfTowers):
    """Whether two items belong together is asked of every pair by itself (SigLIP, arXiv:2303.15343)."""

    kind: Literal["siglip"]
    temperature: LearnedTemperature = LearnedTemperature(initial=0.1)
    """Divides the cosines; each kind of pairs learns its own."""
    bias: Annotated[float, Strict(), Field(ge=-100.0, le=100.0)] = -10.0
    """Added to each logit at the first step, from where it is learned: about the logarithm of the share of pairs that are positive."""


JointMethod = Clip | SigLip
