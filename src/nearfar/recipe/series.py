"""The blocks of a recipe for sensor streams. The docstrings are their documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, Strict, model_validator

from nearfar.recipe.pairing import PairingRule
from nearfar.recipe.settings import LIMITS, Amount, Dimension, Settings
from nearfar.recipe.views import Probability, Shares

NonNegative = Annotated[float, Strict(), Field(ge=0.0, le=1e9)]
Width = Annotated[int, Strict(), Field(ge=4, le=512)]


class SeriesColumns(Settings):
    """Which columns of a table hold what."""

    time: str | None = None
    """Column with date and time, or with seconds; by default the first that reads like one. Data without it needs `rate`."""
    channels: tuple[str, ...] = ()
    """Columns with measured values; by default all numbers that have no other part."""
    machine: str | None = None
    """Column that says which machine a row is of; by default `machine` of the source says."""
    channel: str | None = None
    """Of a long table (a row a value): column with the name of the channel; then `value` is needed too."""
    value: str | None = None
    """Of a long table: column with the value."""
    unit: str | None = None
    """Of a long table: column with the unit."""
    label: str | None = None
    """Column that is not 0 where a fault is known; by default one that is named `label` or `anomaly` and holds 0 and 1 or text.
    Nothing is learned from it: such rows are left out of training. To leave such a column out, `ignore` it."""
    regime: str | None = None
    """Column that names the operating point (speed, load, product), for positives of one operating point."""
    ignore: tuple[str, ...] = ()
    """Columns that are not read."""


class SeriesSource(Settings):
    """CSV or Parquet files with samples of sensors over time, of one machine or of many."""

    kind: Literal["series"]
    path: Path
    """A file, or a folder whose .csv and .parquet files are read recursively in name order."""
    columns: SeriesColumns = SeriesColumns()
    machine: Literal["one", "file", "folder"] = "one"
    """Without a column of machines: all files are of one machine, each file is a machine, or each folder below `path` is."""
    units: dict[str, str] = Field(default={})
    """Channel -> unit, where a column's own name does not say it, as in `temperature [°C]`."""
    rate: Amount | None = None
    """Samples a second of data without times."""
    timezone: str = "UTC"
    """Of times that name none."""


class HealthyPairing(PairingRule):
    """Two windows of healthy data of the same machine at the same operating point belong together, near in time or far apart."""

    kind: Literal["healthy"]
    near: Probability = 0.5
    """How often the second window is a neighbour in time of the first; else it is any other of the same machine."""
    reach: Amount = 4.0
    """How many windows away a neighbour may lie."""


class FastChannels(Settings):
    """What becomes of channels that are sampled many times a frame: the spectrum of each frame."""

    above: Amount = 8.0
    """A channel with more samples a frame than this is a fast one."""
    bands: Annotated[int, Strict(), Field(ge=1, le=256)] = 16
    """Bands of the spectrum, of equal width on a logarithmic scale, beside rms, crest factor and kurtosis."""
    lowest: Amount = 10.0
    """Lower end of the first band in Hz."""


class SeriesFrontendSettings(Settings):
    """How samples become frames at a fixed distance, and frames windows: the same in training and on the device."""

    kind: Literal["series"]
    period: Amount | None = None
    """Seconds from one frame to the next; by default the median distance of samples of the slowest channel."""
    window: Annotated[int, Strict(), Field(ge=4, le=4096)] = 32
    """Frames that the encoder sees at a time."""
    max_gap: NonNegative | None = None
    """Seconds for which the last value is held where samples are missing; by default five frames."""
    lateness: NonNegative = 0.0
    """Seconds that a frame is kept open for samples that come late; alarms come so much later."""
    clip: Amount = 30.0
    """Scaled values are cut to this many spreads, both ways."""
    fast: FastChannels = FastChannels()


class SeriesViews(Settings):
    """How a window is changed without becoming a fault; each view draws which changes it gets."""

    kind: Literal["series"] = "series"
    """Said by `frontend.kind`; need not be written."""
    jitter: NonNegative = 0.1
    """Standard deviation of noise that is added, in spreads of the channel."""
    scale: NonNegative = 0.05
    """Standard deviation of a factor for each channel, about 1."""
    crop: Shares | None = None
    """Smallest and largest share of the window that is kept, and stretched to its length."""
    mask: Probability = 0.1
    """Share of the frames whose values are hidden, as if samples were missing."""
    time_warp: NonNegative = 0.0
    """How unevenly time runs, as a share of the window."""
    permutation: Annotated[int, Strict(), Field(ge=1, le=32)] = 1
    """The window is cut into so many pieces, which change places; 1 leaves it."""
    channel_dropout: Probability = 0.05
    """How often a channel is missing."""
    frequency_mask: Probability = 0.0
    """Share of the frequencies of a window that are removed."""


class DilatedCnnEncoder(Settings):
    """Causal dilated convolutions over a window (TS2Vec, arXiv:2106.10466), and a linear skip from the window's mean."""

    kind: Literal["dilated_cnn"]
    width: Width = 32
    """Channels of each layer."""
    layers: Annotated[int, Strict(), Field(ge=1, le=12)] = 4
    """Residual blocks; each looks twice as far back as the one before it."""
    dim: Dimension = 32
    """Components of an embedding."""
    skip: bool = True
    """Add a linear map of the window's mean, so that what plain statistics see is never lost."""

    @property
    def output_dim(self) -> int:
        """Dimension of the embeddings."""
        return self.dim


class PatchTransformerEncoder(Settings):
    """A transformer over patches of a window (PatchTST, arXiv:2211.14730), and a linear skip from the window's mean."""

    kind: Literal["patch_transformer"]
    patch: Annotated[int, Strict(), Field(ge=1, le=512)] = 8
    """Frames of a patch; must divide the window."""
    width: Annotated[int, Strict(), Field(ge=8, le=512)] = 48
    """Of the transformer; must be a multiple of `heads`."""
    layers: Annotated[int, Strict(), Field(ge=1, le=12)] = 2
    heads: Annotated[int, Strict(), Field(ge=1, le=16)] = 4
    dim: Dimension = 32
    """Components of an embedding."""
    skip: bool = True
    """Add a linear map of the window's mean."""

    @property
    def output_dim(self) -> int:
        """Dimension of the embeddings."""
        return self.dim


class SpectralEncoder(Settings):
    """Magnitudes of short-time spectra of each channel, computed in the graph, under a small CNN: for rhythms within the window."""

    kind: Literal["spectral"]
    segment: Annotated[int, Strict(), Field(ge=4, le=1024)] = 16
    """Frames of each short-time spectrum; half of them overlap."""
    width: Width = 32
    """Channels of each layer."""
    dim: Dimension = 32
    """Components of an embedding."""
    skip: bool = True
    """Add a linear map of the window's mean."""

    @property
    def output_dim(self) -> int:
        """Dimension of the embeddings."""
        return self.dim


SeriesEncoderSettings = DilatedCnnEncoder | PatchTransformerEncoder | SpectralEncoder

FaultKind = Literal["shift", "ramp", "spike", "variance", "flatline", "dropout", "harmonic", "swap"]


class Faults(Settings):
    """Synthetic faults: a change of some channels from some frame on to the window's end."""

    kinds: Annotated[tuple[FaultKind, ...], Field(min_length=1)] = (
        *("shift", "ramp", "spike", "variance"),
        *("flatline", "dropout", "harmonic", "swap"),
    )
    """Which are drawn."""
    strength: Annotated[tuple[Amount, ...], *LIMITS] = (0.5, 4.0)
    """Smallest and largest size, in spreads of the channel; drawn evenly on a logarithmic scale."""
    channels: Annotated[tuple[Probability, ...], *LIMITS] = (0.1, 0.6)
    """Smallest and largest share of the channels that a fault changes; at least one."""


class FaultContrast(Settings):
    """Healthy windows of a machine find each other among synthetic faults of it; healthy windows never repel each other.

    InfoNCE over negative squared distances of embeddings that are not scaled to unit length; compare CARLA (arXiv:2308.09296).
    """

    needs_labels: ClassVar[bool] = False

    kind: Literal["fault_contrast"]
    temperature: Amount = 4.0
    """Divides the squared distances."""
    faults: Faults = Faults()
    """What is negative."""
    per_window: Annotated[int, Strict(), Field(ge=1, le=16)] = 1
    """Synthetic faults of each healthy window of a batch."""
    negatives: Literal["machine", "batch"] = "machine"
    """Whose faults a healthy window is kept apart from: those of its own machine, or of all machines of the batch."""
    recovered: Probability = 0.25
    """Share of the healthy windows in which a fault came and went: a machine that is well again is healthy, and the alarm ends soon."""
    spread: NonNegative = 0.01
    """Weight of the squared distance of healthy windows from their machine's mean, which sets the scale of the space."""


class Scorer(Settings):
    """A way to tell how far a frame is from normal."""

    features: Literal["raw", "embedding"]
    """The mean of the last frames, or what the encoder makes of the last window."""
    by: Literal["centroid", "mahalanobis", "prototypes", "knn"]
    """Distance from the mean; the same in units of the healthy covariance (Ledoit-Wolf); from the nearest of some prototypes
    (k-means) in such units; mean distance from the nearest healthy neighbours."""


_SCORERS = (
    *(Scorer(features="raw", by=by) for by in ("mahalanobis", "prototypes", "knn")),
    *(Scorer(features="embedding", by=by) for by in ("centroid", "mahalanobis", "prototypes", "knn")),
)


class Watch(Settings):
    """How healthy data becomes alarms on the device."""

    scorers: Annotated[tuple[Scorer, ...], Field(min_length=1)] = _SCORERS
    """The candidates. The one that finds most injected faults in held-out healthy data ships, but one of embeddings only where it surely finds
    more than plain means do; the encoder ships only with one that needs it."""
    smooth: Annotated[tuple[Annotated[int, Strict(), Field(ge=1, le=4096)], ...], Field(min_length=1)] = (10, 20, 30)
    """Frames whose mean is scored by scorers of raw features; each is a candidate."""
    least_windows: Annotated[int, Strict(), Field(ge=0, le=10**9)] = 1000
    """An encoder that was trained on fewer windows that do not overlap is no candidate: faults that are injected into little data say
    more for it than real ones do."""
    prototypes: Annotated[int, Strict(), Field(ge=1, le=256)] = 8
    """How many prototypes."""
    neighbours: Annotated[int, Strict(), Field(ge=1, le=256)] = 5
    """How many neighbours."""
    references: Annotated[int, Strict(), Field(ge=10, le=100_000)] = 1000
    """Healthy examples that are kept for neighbours."""
    false_alarms_per_day: Amount = 1.0
    """How many alarms a day healthy data may raise."""
    block: Amount | None = None
    """Seconds of the blocks whose highest scores set the threshold; by default 20 windows, so that scores of one say little of the next."""
    tail: Literal["auto", "conformal", "gpd"] = "auto"
    """`conformal` takes the threshold from the blocks as they are, which needs as many as the promise asks for; `gpd` extends them by
    a generalised Pareto tail (peaks over threshold); `auto` does so only where there are too few."""
    needed: Annotated[int, Strict(), Field(ge=1, le=10_000)] | None = None
    """An alarm needs so many scores above the threshold ..."""
    out_of: Annotated[int, Strict(), Field(ge=1, le=10_000)] | None = None
    """... of so many in a row. By default 3 of 5 for means, which are smooth already, and 20 of 30 for embeddings, which are not."""
    release: Annotated[float, Strict(), Field(gt=0.0, le=1.0)] = 0.9
    """An alarm ends below this share of the threshold ..."""
    calm: Annotated[int, Strict(), Field(ge=1, le=100_000)] = 10
    """... for so many scores in a row."""
    settle: Annotated[float, Strict(), Field(ge=0.0, lt=1.0)] = 0.5
    """An alarm ends also below this share of its mean score: the machine has settled to something else. After any end another is
    raised only when the score comes as much above what it had calmed down to. 0 turns both off."""
    cool_down: NonNegative = 600.0
    """Seconds after an alarm's end in which the next one is still the same, so that nobody is told twice; its end is told only after them."""
    fleet_share: Annotated[float, Strict(), Field(gt=0.0, lt=1.0)] = 0.05
    """Share of later healthy scores of other machines that may exceed the threshold of one with too little data of its own."""
    adapt: bool = False
    """Move the centre slowly with what is healthy; never while alarmed, and never further than `adapt_limit`."""
    adapt_limit: NonNegative = 1.0
    """How far the centre of a feature may move in all, in spreads."""

    def votes(self, features: Literal["raw", "embedding"]) -> tuple[int, int]:
        """How many scores above the threshold, of how many, make an alarm."""
        if self.needed is not None and self.out_of is not None:
            return self.needed, self.out_of
        return (3, 5) if features == "raw" else (20, 30)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.needed is None) != (self.out_of is None):
            raise ValueError("needed and out_of go together: give both, or neither")
        if self.needed is not None and self.out_of is not None and self.needed > self.out_of:
            raise ValueError(
                f"needed is {self.needed}, but only {self.out_of} scores are looked at: out_of must be as many"
            )
        return self
