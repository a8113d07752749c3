"""The recordings of a run on disk: all their samples in one file, a few numbers for each recording beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nearfar.frontend import AudioError, AudioFrontend
from nearfar.frontend.sound import decode_sound
from nearfar.learn.data.noted import Noted, check_bad_rows, content_key, nothing_read, numbered, passed_over
from nearfar.learn.data.split import DROPPED, TEST, TRAIN, VALIDATION
from nearfar.learn.data.stored_sound import Samples, as_heard, as_stored, band_moments, measured
from nearfar.learn.data.textfile import TextFile, append_text
from nearfar.learn.data.whole import write_whole
from nearfar.recipe.audio import AudioFolderSource, AudioSource
from nearfar.recipe.data import Data
from nearfar.sources.clip import Clip
from nearfar.sources.clip_table import ClipTable
from nearfar.sources.clips import ClipFolder
from nearfar.sources.document import ReadReport

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClipCounts:
    """What the corpus holds."""

    clips: int
    train: int
    validation: int
    test: int
    labelled: int
    twins_dropped: int
    """Recordings to train or validate on whose exact content is held out from that too."""
    rate: int
    seconds: float
    """Of all of them, trimmed."""
    classes: list[str]
    """The labels: identities, where these are learned."""
    sessions: list[str]
    attributes: list[str]
    mean: list[float]
    """Of each band of the log-mel spectrogram over the training recordings."""
    std: list[float]
    fingerprint: str
    skipped: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ClipCorpus:
    """Recordings by number, trimmed, but neither cut nor repeated.

    Attributes:
        samples: (t,) int16, of all of them, one after the other.
        starts: (n + 1,) int64, where each begins.
        labels: (n,) int64, places in `counts.classes`; -1 for none.
        sessions: (n,) int64, places in `counts.sessions`; -1 for none. Sessions of one name are the same only within a label.
        attributes: (n,) int64, places in `counts.attributes`; -1 for none.
        side: (n,) TRAIN, VALIDATION, TEST or DROPPED.
        ids: the name of each recording in its source.
        counts: how many of everything.
    """

    samples: npt.NDArray[np.int16]
    starts: Ints
    labels: Ints
    sessions: Ints
    attributes: Ints
    side: npt.NDArray[np.int8]
    ids: TextFile
    counts: ClipCounts

    def numbers_of(self, side: int) -> Ints:
        """The numbers of the recordings of one side."""
        return np.flatnonzero(self.side == side)

    def stored(self, number: int) -> npt.NDArray[np.int16]:
        """The samples of a recording (t,) as they lie on disk."""
        return self.samples[self.starts[number] : self.starts[number + 1]]

    def waves(self, number: int) -> Samples:
        """The samples of a recording (t,) in [-1, 1]."""
        return as_heard(self.stored(number))

    @classmethod
    def open(cls, directory: Path) -> ClipCorpus:
        """Open a corpus that `prepare_clips` wrote."""
        counts = ClipCounts(**json.loads((directory / "clips.json").read_text("utf-8")))
        samples = np.memmap(directory / "samples.bin", dtype=np.int16, mode="r")
        with np.load(directory / "clips.npz") as arrays:
            starts, labels, side = arrays["starts"], arrays["labels"], arrays["side"]
            sessions, attributes = arrays["sessions"], arrays["attributes"]
        return cls(samples, starts, labels, sessions, attributes, side, TextFile(directory / "ids"), counts)


ClipReader = ClipFolder | ClipTable


def open_clips(settings: AudioSource) -> ClipReader:
    """What reads the recordings of a recipe."""
    if isinstance(settings, AudioFolderSource):
        return ClipFolder(settings.path, labels=settings.labels, suffixes=settings.suffixes)
    return ClipTable(settings.path, **settings.columns.model_dump())


def prepare_clips(
    data: Data,
    frontend: AudioFrontend,
    directory: Path,
    seed: int,
    *,
    identity: bool,
    progress: Callable[[int], None] = lambda _: None,
) -> ClipCorpus:
    """Read the source once, split it, and leave the result in `directory`.

    Args:
        data: the recipe's data block.
        frontend: at which rate recordings are stored, whether they are trimmed, and what is measured of them.
        directory: where the files go; an unfinished earlier attempt there is overwritten.
        seed: of the split.
        identity: whether labels are identities, which are held out whole.
        progress: called with the number of recordings just read.

    Returns:
        The corpus, memory-mapped.

    Raises:
        DataError: where nothing could be read, or recordings were bad and `bad_rows` is `refuse`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    assert isinstance(data.source, AudioSource)
    source, report = open_clips(data.source), ReadReport()
    noted, lengths = _write(_decoded(source, frontend, report, progress), directory)
    skipped, examples = passed_over(source.report, report)
    check_bad_rows(data, skipped, examples)
    if not noted.keys:
        raise nothing_read("recordings", data, skipped, examples)
    side = noted.sides(data, identity=identity, seed=seed)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    (classes, labels), (sessions, session), (attributes, attribute) = map(
        numbered, (noted.labels, noted.sessions, noted.attributes)
    )
    np.savez(directory / "clips.npz", starts=starts, labels=labels, sessions=session, attributes=attribute, side=side)
    samples = np.memmap(directory / "samples.bin", dtype=np.int16, mode="r")
    training = measured(np.flatnonzero(side == TRAIN), seed)
    mean, std = band_moments((samples[starts[n] : starts[n + 1]] for n in training), frontend.settings)
    counts = ClipCounts(
        clips=len(side),
        train=int((side == TRAIN).sum()),
        validation=int((side == VALIDATION).sum()),
        test=int((side == TEST).sum()),
        labelled=int((labels >= 0).sum()),
        twins_dropped=int((side == DROPPED).sum()),
        rate=frontend.settings.rate,
        seconds=round(float(starts[-1]) / frontend.settings.rate, 1),
        classes=classes,
        sessions=sessions,
        attributes=attributes,
        mean=mean,
        std=std,
        fingerprint=noted.fingerprint,
        skipped=skipped,
        examples=examples,
    )
    # Last: its presence says that the corpus is whole.
    write_whole(directory / "clips.json", json.dumps(asdict(counts), indent=1, ensure_ascii=False))
    return ClipCorpus.open(directory)


def _decoded(
    source: ClipReader, frontend: AudioFrontend, report: ReadReport, progress: Callable[[int], None]
) -> Iterator[tuple[Clip, npt.NDArray[np.int16]]]:
    """Recordings with their samples (t,) as they are stored."""
    for clip in source.clips():
        progress(1)
        try:
            samples = decode_sound(
                clip.content, frontend.settings.rate, name=clip.location, start=clip.start, end=clip.end
            )
        except AudioError as error:
            report.skip(clip.location, error.reason, detail=error.detail)
            continue
        yield clip, as_stored(samples[frontend.spoken(samples)])


def _write(clips: Iterator[tuple[Clip, npt.NDArray[np.int16]]], directory: Path) -> tuple[Noted, list[int]]:
    """Store samples and names; returns what is said of each recording, and its length."""
    noted, lengths = Noted(), list[int]()
    with (directory / "samples.bin").open("wb") as file, TextFile.writer(directory / "ids") as ids:
        for clip, samples in clips:
            content = samples.astype("<i2").tobytes()
            file.write(content)
            append_text(ids, clip.id)
            noted.add(clip, content_key(content))
            lengths.append(len(samples))
    return noted, lengths
