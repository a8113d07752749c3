"""What a frontend writes into the manifest, so that the device prepares items exactly as training did."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

_Finite = Annotated[float, Field(allow_inf_nan=False)]

_MAX_VALUES = 2**26  # of one prepared picture: 256 MB, beyond which no device follows


class _FrontendSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class TextSettings(_FrontendSettings):
    """Settings of a `TextFrontend`, without its vocabulary (that is the file `tokenizer`)."""

    kind: Literal["text"] = "text"
    tokenizer: str = "tokenizer.json"
    """Name of the vocabulary file."""
    max_query_tokens: PositiveInt
    """A query is cut to so many tokens, special tokens included."""
    max_document_tokens: PositiveInt
    """A document is cut to so many tokens, special tokens included."""
    query_prompt: str = ""
    """Put before every query."""
    document_prompt: str = ""
    """Put before every document."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that the frontend needs in a bundle."""
        return (self.tokenizer,)


class PairSettings(_FrontendSettings):
    """Settings of a `PairFrontend`, without its vocabulary (that is the file `tokenizer`)."""

    kind: Literal["text-pair"] = "text-pair"
    tokenizer: str = "tokenizer.json"
    """Name of the vocabulary file."""
    max_query_tokens: PositiveInt
    """A query is cut to so many tokens, before any passage is."""
    max_tokens: PositiveInt
    """Query, passage and special tokens together; the passage is cut to what the query leaves."""
    types: bool = False
    """Whether the graph is told which tokens are of the query (0) and which of the passage (1)."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that the frontend needs in a bundle."""
        return (self.tokenizer,)

    @model_validator(mode="after")
    def _leaves_room(self) -> Self:
        if self.max_query_tokens >= self.max_tokens:
            raise ValueError(
                f"max_query_tokens is {self.max_query_tokens}, which leaves a passage nothing of max_tokens {self.max_tokens}"
            )
        return self


class ImageSettings(_FrontendSettings):
    """Settings of an `ImageFrontend`. Mean and standard deviation of the pixels are no part of it: they lie in the graph."""

    kind: Literal["image"] = "image"
    size: Annotated[int, Field(ge=1, le=8192)]
    """Height and width in pixels of what the graph takes."""
    channels: Annotated[int, Field(ge=1, le=1024)] = 3
    """1 for grey, 3 for red, green and blue; any other number must be that of the pictures themselves."""
    fit: Literal["crop", "squash"] = "crop"
    """How a picture that is not square becomes so: `crop` keeps its central square, `squash` changes its proportions."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that the frontend needs in a bundle: none."""
        return ()

    @model_validator(mode="after")
    def _fits_in_memory(self) -> Self:
        values = self.size * self.size * self.channels
        if values > _MAX_VALUES:
            raise ValueError(
                f"size {self.size} with {self.channels} channels is {values:,} values a picture: at most {_MAX_VALUES:,}"
            )
        return self


class AudioSettings(_FrontendSettings):
    """Settings of an `AudioFrontend`, and of the log-mel spectrogram that the graph computes of its samples.

    The spectrogram: frames of `frame` samples every `hop` samples, the first at sample 0 and none beyond the end; a Hann window
    (periodic); the power of the discrete Fourier transform of `frame` points; triangular mel bands (O'Shaughnessy's scale,
    2595 log10(1 + f / 700)) of height 1; the natural logarithm of power + `floor`; with `centre`, minus its mean over the frames.
    """

    kind: Literal["audio"] = "audio"
    rate: Annotated[int, Field(ge=1000, le=192_000)]
    """Samples a second that the graph takes."""
    trim: bool = True
    """Leave out what is silent before and after the sound."""
    step: PositiveInt
    """In samples: what is shorter is repeated up to this, and every length is brought to a multiple of it by repeating."""
    longest: Annotated[int, Field(gt=0, le=2**26)]
    """In samples: what is longer is cut. A multiple of `step`."""
    frame: PositiveInt
    """Samples of a short-time spectrum."""
    hop: PositiveInt
    """Samples from one to the next."""
    bands: PositiveInt
    """Mel bands."""
    lowest: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Lower end of the first band in Hz."""
    highest: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Upper end of the last band in Hz."""
    floor: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-6
    """Added to the power of a band before the logarithm; samples are in [-1, 1]."""
    centre: bool = True
    """Whether each band's mean over the recording is taken away."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that the frontend needs in a bundle: none."""
        return ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.hop <= self.frame <= self.step <= self.longest:
            raise ValueError(
                f"hop ({self.hop}), frame ({self.frame}), step ({self.step}) and longest ({self.longest}) must ascend"
            )
        if self.longest % self.step:
            raise ValueError(f"longest ({self.longest}) must be a multiple of step ({self.step})")
        if not self.lowest < self.highest <= self.rate / 2:
            raise ValueError(
                f"bands from {self.lowest:g} to {self.highest:g} Hz must lie between 0 and half of the rate ({self.rate / 2:g} Hz)"
            )
        return self


class ChannelSettings(_FrontendSettings):
    """One sensor, and what was normal of it."""

    name: Annotated[str, Field(min_length=1)]
    unit: str = ""
    rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Samples a second of a fast channel (vibration, sound), which gives a frame its spectrum; None for one that gives its mean."""
    bands: tuple[tuple[float, float], ...] = ()
    """Of a fast channel: from and to in Hz, in ascending order, one feature each."""
    centre: Annotated[tuple[_Finite, ...], Field(min_length=1)]
    """What is subtracted from each of its features: their healthy median."""
    scale: Annotated[tuple[Annotated[float, Field(ge=1e-37, le=1e38)], ...], Field(min_length=1)]
    """What each is divided by afterwards: their healthy spread."""
    lowest: _Finite | None = None
    """Smallest sample of healthy data."""
    highest: _Finite | None = None
    """Largest sample of healthy data."""
    longest_flat: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Seconds for which healthy samples may not change at all: the longest such time in the data, and at least what chance makes."""

    @property
    def features(self) -> int:
        """How many numbers it gives a frame."""
        return len(self.centre)

    @model_validator(mode="after")
    def _alike(self) -> Self:
        if len(self.centre) != len(self.scale):
            raise ValueError(f"channel {self.name}: {len(self.centre)} centres but {len(self.scale)} scales")
        if bool(self.bands) != (self.rate is not None):
            raise ValueError(f"channel {self.name}: a fast channel has rate and bands, any other has neither")
        if self.features != (3 + len(self.bands) if self.bands else 1):
            raise ValueError(
                f"channel {self.name}: {self.features} centres, but a slow channel has one, and a fast one three and one a band"
            )
        return self


_MOST_NUMBERS = 2**24
"""Of a window: several of them are in memory at once, also of a bundle that nobody has reason to trust."""


class SeriesSettings(_FrontendSettings):
    """Settings of a `SeriesFrontend`: how samples become frames at a fixed distance, and frames windows."""

    kind: Literal["series"] = "series"
    channels: Annotated[tuple[ChannelSettings, ...], Field(min_length=1)]
    period: Annotated[float, Field(ge=1e-6, allow_inf_nan=False)]
    """Seconds from one frame to the next."""
    window: PositiveInt
    """Frames that the encoder sees at a time."""
    max_gap: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Seconds for which the last value is held where samples are missing; after that they count as missing."""
    lateness: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Seconds that a frame is kept open for samples that come late."""
    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30.0
    """Scaled values are cut to this many spreads, both ways."""

    @property
    def features(self) -> int:
        """Numbers of a frame."""
        return sum(channel.features for channel in self.channels)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """`name` of a slow channel; `name rms`, `name crest`, `name kurtosis` and `name 100-200 Hz` of a fast one."""
        return tuple(name for channel in self.channels for name in _feature_names(channel))

    @property
    def channel_of_feature(self) -> tuple[int, ...]:
        """The number of the channel that each feature is of."""
        return tuple(number for number, channel in enumerate(self.channels) for _ in range(channel.features))

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that the frontend needs in a bundle: none."""
        return ()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [channel.name for channel in self.channels]
        if len(set(names)) < len(names):
            raise ValueError("channels must differ by name")
        return self

    @model_validator(mode="after")
    def _fits_in_memory(self) -> Self:
        if self.window * self.features > _MOST_NUMBERS:
            raise ValueError(
                f"a window of {self.window} frames of {self.features} numbers is more than {_MOST_NUMBERS}"
            )
        return self


def _feature_names(channel: ChannelSettings) -> tuple[str, ...]:
    if channel.rate is None:
        return (channel.name,)
    bands = tuple(f"{channel.name} {low:g}-{high:g} Hz" for low, high in channel.bands)
    return (f"{channel.name} rms", f"{channel.name} crest", f"{channel.name} kurtosis", *bands)


_Knots = Annotated[tuple[_Finite, ...], Field(min_length=1)]


class _ScaledColumn(_FrontendSettings):
    """A column whose values are brought to a common scale along straight lines between knots; beyond the ends they are cut."""

    name: str
    knots: _Knots
    """Values in the column's own unit (of a date: days since 1970-01-01), ascending."""
    levels: _Knots
    """What each of them becomes."""

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if len(self.knots) != len(self.levels):
            raise ValueError(f"column {self.name}: {len(self.knots)} knots but {len(self.levels)} levels")
        if any(left >= right for left, right in pairwise(self.knots)):
            raise ValueError(f"column {self.name}: knots must ascend")
        return self


class NumberColumn(_ScaledColumn):
    """A column of numbers."""

    type: Literal["number"] = "number"


class DateColumn(_ScaledColumn):
    """A column of dates or times."""

    type: Literal["date"] = "date"
    cycles: tuple[Literal["year", "week", "day"], ...] = ()
    """Where it stands in each of these is told besides, as sine and cosine."""


class CategoryColumn(_FrontendSettings):
    """A column of categories; what is not among `values` is unknown."""

    type: Literal["category"] = "category"
    name: str
    values: tuple[str, ...]

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if len(set(self.values)) < len(self.values):
            raise ValueError(f"column {self.name}: values must differ")
        return self


class IgnoredColumn(_FrontendSettings):
    """A column that is not looked at."""

    name: str
    why: str


class TableSettings(_FrontendSettings):
    """Settings of a `TableFrontend`: what the columns of a row are, and how each becomes numbers."""

    kind: Literal["table"] = "table"
    columns: Annotated[
        tuple[Annotated[NumberColumn | DateColumn | CategoryColumn, Field(discriminator="type")], ...],
        Field(min_length=1),
    ]
    ignored: tuple[IgnoredColumn, ...] = ()
    missing: tuple[str, ...] = ()
    """Texts that stand for nothing."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that the frontend needs in a bundle: none."""
        return ()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [column.name for column in self.columns]
        if len(set(names)) < len(names):
            raise ValueError("columns must differ by name")
        return self


class EventsSettings(_FrontendSettings):
    """Settings of an `EventsFrontend`: how a history of actions becomes what the graph takes.

    The latest `length` actions of positive weight, oldest first. What the graph takes:

        vectors  float32 (n, L, d)   of the items; zero rows before a shorter history
        gaps     int64 (n, L)        how long after an action the next one came (of the last one: until now), as the number of `gaps` that
                                     are at most that long: 0 to len(gaps)
        weights  float32 (n, L)      of the actions
        mask     float32 (n, L)      1 for an action, 0 before the first one
        values   float32 (n, F), codes int64 (n, F): of the context, as a TableFrontend gives them; only where there is one

    L is at most `length`, and of one history alone what it has (at least 1).
    """

    kind: Literal["events"] = "events"
    length: PositiveInt
    """Latest actions that are looked at."""
    gaps: tuple[_Finite, ...] = (10.0, 60.0, 600.0, 3600.0, 21600.0, 86400.0, 604800.0, 2592000.0)
    """Seconds, ascending."""
    actions: dict[str, _Finite] = {}
    """Kind of action -> weight; empty where every action has weight 1."""
    other: _Finite | None = None
    """Weight of kinds that are not named; None refuses them."""
    full_dwell: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    """Seconds of dwell that count whole; shorter ones count log(1 + dwell) / log(1 + full_dwell)."""
    least_dwell: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Actions with a shorter dwell were accidents."""
    repeat: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 30.0
    """Seconds within which the same action on the same item again is one."""
    liked: _Finite | None = None
    """Actions with a rating below it are dislike."""
    context: TableSettings | None = None
    """What is known of the moment besides."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that the frontend needs in a bundle: none."""
        return ()


class JointSettings(_FrontendSettings):
    """The frontends of an encoder of several modalities in one space: each tower has its own."""

    kind: Literal["joint"] = "joint"
    towers: Annotated[
        dict[
            Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=24)],
            Annotated[
                TextSettings | ImageSettings | AudioSettings | SeriesSettings | TableSettings,
                Field(discriminator="kind"),
            ],
        ],
        Field(min_length=1),
    ]
    """Name of the tower -> how its items are prepared."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that the frontends need in a bundle."""
        return tuple(name for tower in self.towers.values() for name in tower.files)

    @model_validator(mode="after")
    def _files_differ(self) -> Self:
        if len(set(self.files)) < len(self.files):
            raise ValueError("towers of texts must not share a vocabulary file: give each a name of its own")
        return self
