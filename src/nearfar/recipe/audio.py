"""The blocks of a recipe for recordings of sound. The docstrings are their documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, Strict, model_validator

from nearfar.recipe.settings import LIMITS, Amount, Dimension, Settings
from nearfar.recipe.views import Probability, Share

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif")

Rate = Annotated[int, Strict(), Field(ge=4_000, le=96_000)]
Decibels = Annotated[float, Strict(), Field(ge=-60.0, le=80.0)]
Factor = Annotated[float, Strict(), Field(ge=0.25, le=4.0)]
Width = Annotated[int, Strict(), Field(ge=8, le=1024)]


class AudioFolderSource(Settings):
    """A folder of recordings, read recursively in name order. Folders `train`, `validation` (or `val`) and `test` at its top are
    taken as the split. The folder below that of the label says which session a recording is of (`anna/monday/1.wav`).
    """

    kind: Literal["audio"]
    path: Path
    """The folder; relative paths start at the recipe's own folder."""
    labels: Literal["none", "folder"] = "none"
    """Whether the first folder level says who or what is heard."""
    suffixes: tuple[str, ...] = AUDIO_SUFFIXES
    """Which files to read."""


class AudioColumns(Settings):
    """Which columns of a table hold the recordings."""

    audio: str = "audio"
    """Column with encoded recordings (the bytes of a WAV, FLAC, OGG file), a struct that has them as `bytes`, or the path of a file,
    relative to the table."""
    label: str | None = None
    """Column that says who or what is heard, as text or a whole number."""
    session: str | None = None
    """Column that says which recordings were made in one go: alike room, microphone and mood."""
    split: str | None = None
    """Column that says `train`, `validation` or `test`; by default a folder's files of these names do."""
    id: str | None = None
    """Column with a unique name; by default file and row number."""
    group: str | None = None
    """Column that says what belongs together (a household, a film), for a split by group."""
    start: str | None = None
    """Column with the second at which the recording starts within its file; `end` likewise."""
    end: str | None = None
    attribute: str | None = None
    """Column with an attribute (sex, accent, device) whose groups error rates are told apart for; nothing is learned from it."""


class AudioTableSource(Settings):
    """Recordings in a Parquet file, in all Parquet files of a folder, or named by the rows of a CSV or JSONL manifest."""

    kind: Literal["audio_table"]
    path: Path
    """The file or folder; relative paths start at the recipe's own folder."""
    columns: AudioColumns = AudioColumns()
    """Where the recordings are."""


AudioSource = AudioFolderSource | AudioTableSource


class AudioFrontendSettings(Settings):
    """How a recording becomes samples and those a log-mel spectrogram: the same in training and on the device."""

    kind: Literal["audio"]
    rate: Rate = 16_000
    """Samples a second that the encoder hears; recordings of another rate are resampled."""
    trim: bool = True
    """Leave out what is silent before and after the sound."""
    min_seconds: Amount = 0.25
    """After trimming; what is shorter is repeated up to this. The length is always a multiple of it."""
    max_seconds: Amount = 8.0
    """What is longer is cut to its first so many seconds."""
    bands: Annotated[int, Strict(), Field(ge=8, le=256)] = 48
    """Mel bands of the spectrogram."""
    frame: Amount = 0.025
    """Seconds of each short-time spectrum."""
    hop: Amount = 0.010
    """Seconds from one to the next."""
    lowest: Annotated[float, Strict(), Field(ge=0.0, le=48_000.0)] = 60.0
    """Lower end of the first band in Hz."""
    highest: Amount | None = None
    """Upper end of the last band in Hz; by default 0.475 of the rate."""
    centre: Literal["none", "mean"] = "mean"
    """`mean` takes from each band its mean over the recording: gain and microphone matter less."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.hop > self.frame:
            raise ValueError(f"hop is {self.hop:g} s, longer than frame ({self.frame:g} s): samples would be missed")
        if self.frame > self.min_seconds or self.min_seconds > self.max_seconds:
            raise ValueError(
                f"frame ({self.frame:g} s), min_seconds ({self.min_seconds:g}) and max_seconds ({self.max_seconds:g}) must ascend"
            )
        if (self.highest or self.rate / 2) > self.rate / 2 or self.lowest >= (self.highest or 0.475 * self.rate):
            raise ValueError(
                f"the bands must lie between 0 and half of the rate ({self.rate / 2:g} Hz), lowest below highest"
            )
        return self


class Noise(Settings):
    """Noise that is added."""

    probability: Probability = 0.5
    """How often."""
    snr: Annotated[tuple[Decibels, ...], *LIMITS] = (5.0, 30.0)
    """Smallest and largest ratio of signal to noise in dB."""
    folder: Path | None = None
    """Recordings of noise to draw from; without them it is coloured noise, from white to brown."""


class Reverb(Settings):
    """The echo of a made room: an exponentially decaying tail of noise."""

    probability: Probability = 0.3
    """How often."""
    seconds: Annotated[tuple[Amount, ...], *LIMITS] = (0.1, 0.6)
    """Shortest and longest time in which the tail falls by 60 dB."""


class BandLimit(Settings):
    """Low and high frequencies taken away, as by a small loudspeaker or a telephone."""

    probability: Probability = 0.3
    """How often."""
    low: Annotated[tuple[Amount, ...], *LIMITS] = (50.0, 400.0)
    """Where the low end is drawn from, in Hz."""
    high: Annotated[tuple[Share, ...], *LIMITS] = (0.5, 1.0)
    """Where the high end is drawn from, as a share of half the rate."""


class AudioViews(Settings):
    """How a part of a recording is changed; each view draws for itself which part and which changes."""

    kind: Literal["audio"] = "audio"
    """Said by `frontend.kind`; need not be written."""
    seconds: Amount = 1.0
    """Length of a view; of shorter recordings all is taken, and repeated."""
    start: Literal["anywhere", "beginning"] = "anywhere"
    """Where in a recording a view begins. `anywhere` makes "our-f" of a short "four"; where the order of sounds matters, as in words, take
    `beginning`."""
    gain: Annotated[tuple[Decibels, ...], *LIMITS] = (-10.0, 6.0)
    """Smallest and largest change of loudness in dB."""
    speed: Annotated[tuple[Factor, ...], *LIMITS] = (0.95, 1.05)
    """Slowest and fastest; pitch goes with it."""
    noise: Noise | None = Noise()
    reverb: Reverb | None = Reverb()
    band: BandLimit | None = BandLimit()
    time_mask: Probability = 0.1
    """Largest share of the frames that are hidden in one piece."""
    frequency_mask: Probability = 0.1
    """Largest share of the mel bands that are hidden in one piece (SpecAugment, arXiv:1904.08779)."""


class EcapaEncoder(Settings):
    """Dilated convolutions over time with residual groups, squeeze and excitation, and attentive statistics pooling (ECAPA-TDNN,
    arXiv:2005.07143), small.
    """

    kind: Literal["ecapa"]
    width: Width = 128
    """Channels of each layer; a multiple of 8. The paper has 512 and 1024."""
    dim: Dimension = 128
    """Components of an embedding; the paper has 192."""

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % 8:
            raise ValueError(f"width ({self.width}) must be a multiple of 8")
        return self

    @property
    def output_dim(self) -> int:
        """Dimension of the embeddings."""
        return self.dim


class MelCnnEncoder(Settings):
    """Residual convolutions over time and frequency, then mean and standard deviation over time: for sounds of all kinds."""

    kind: Literal["mel_cnn"]
    width: Width = 24
    """Channels after the first layer; they double twice."""
    dim: Dimension = 128
    """Components of an embedding."""

    @property
    def output_dim(self) -> int:
        """Dimension of the embeddings."""
        return self.dim


AudioEncoderSettings = EcapaEncoder | MelCnnEncoder
