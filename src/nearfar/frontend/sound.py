"""A recording in any form to samples: a path, the bytes of a file, or an array already."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from nearfar.errors import DataError, MissingExtraError
from nearfar.frontend.samples import (
    MOST_CHANNELS,
    AudioError,
    Samples,
    check_part,
    checked_rate,
    mono,
    part,
    part_bounds,
)

__all__ = ["AudioError", "Samples", "decode_sound"]

_LOUDEST = 4.0  # 12 dB above full scale: decoders of lossy formats stay below, numbers of another scale do not
_BLOCK = 2**18  # frames that are decoded before they are mixed to one channel
_WAV = b"RIFF"
_LOSSY = ("MP3", "MPEG", "OGG")  # a wrong bit in these may become a number of any size
_SHORTFALL = 0.1  # seconds that a lossy format may end before what its header says


def decode_sound(
    item: object, rate: int, *, name: str = "", start: float | None = None, end: float | None = None
) -> Samples:
    """Decode one recording, mix it to one channel and bring it to a rate.

    WAV, FLAC, Ogg (Vorbis, Opus), MP3 and AIFF are read by libsndfile; WAV of whole numbers also without it. What a file
    is called does not matter. The channels are averaged. Another rate is resampled by soxr (quality HQ). Samples that are
    then beyond [-1, 1] are cut to it.

    Args:
        item: a path, the bytes of a file, an array (t,) or (t, channels) at `rate`, or a pair of an array and its rate.
            Arrays are of floats in [-1, 1], or of int16, int32 or uint8 over their whole range.
        rate: samples a second of what is returned.
        name: of the recording, for messages; a path names itself.
        start: second at which the part that is wanted begins; by default the beginning. Only the part is decoded.
        end: second at which it ends; by default the end.

    Returns:
        float32 (t,) in [-1, 1], t of 1 or more.

    Raises:
        AudioError: it is none, damaged, cut off, empty, longer than `MOST_SECONDS`, holds what is not a number, or the
            part lies outside.
        DataError: `item` is none of these.
        MissingExtraError: soundfile or soxr is needed and not installed.
    """
    if not name and isinstance(item, (str, os.PathLike)):
        name = os.fsencode(item).decode("utf-8", "backslashreplace")
    try:
        check_part(start, end)
        if isinstance(item, np.ndarray) or _is_pair(item):
            array, own = item if isinstance(item, tuple) else (item, rate)
            samples, own = part(mono(array), checked_rate(own), start, end), checked_rate(own)
        else:
            with _opened(item) as file:
                samples, own = _read(file, start, end)
        return _finished(samples, own, rate)
    except AudioError as error:
        raise AudioError(error.reason, error.detail, name) from error.__cause__
    except MemoryError as error:
        raise AudioError("too long", "the memory does not hold it", name) from error
    except OSError as error:
        raise AudioError("cannot be read", error.strerror or type(error).__name__, name) from error


def _is_pair(item: object) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], np.ndarray)


def _finished(samples: Samples, own: float, rate: int) -> Samples:
    """Samples at the wanted rate, all of them numbers in [-1, 1]."""
    loudest = float(np.abs(samples).max(initial=0.0))
    if not math.isfinite(loudest):
        raise AudioError("holds what is not a number")
    if loudest > _LOUDEST:
        raise AudioError("samples far beyond [-1, 1]", f"up to {loudest:.3g}: divide them by their full scale")
    if own != rate:
        samples = _resampled(samples, own, rate)
        if not len(samples):
            raise AudioError("holds no samples", f"at {rate} a second")
    return np.clip(samples, -1.0, 1.0) if np.abs(samples).max() > 1 else samples


def _resampled(samples: Samples, own: float, rate: int) -> Samples:
    try:
        import soxr
    except ImportError as error:
        raise MissingExtraError("audio", f"bringing sound of {own:g} samples a second to {rate}") from error
    resampled: Samples = soxr.resample(samples, own, rate, quality="HQ")
    return resampled


@contextmanager
def _opened(item: object) -> Iterator[BinaryIO]:
    if isinstance(item, (bytes, bytearray, memoryview)):
        yield io.BytesIO(item)
        return
    if not isinstance(item, (str, os.PathLike)):
        raise DataError(
            f"a recording is {type(item).__name__}: pass a path, the bytes of a file, an array (t,), or (array, rate)"
        )
    path = Path(os.fsdecode(item))
    if "\0" in os.fspath(path):
        raise AudioError("cannot be read", "no name of a file")
    if path.exists() and not path.is_file():  # a named pipe would never end
        raise AudioError("cannot be read", "not a regular file")
    with path.open("rb", buffering=0) as file:  # libsndfile takes its number, and knows nothing of a buffer
        yield cast(BinaryIO, file)


def _read(file: BinaryIO, start: float | None, end: float | None) -> tuple[Samples, float]:
    first = file.read(len(_WAV))
    file.seek(0)
    if not first:
        raise AudioError("empty file")
    try:
        import soundfile
    except ImportError as error:
        if first != _WAV:
            raise MissingExtraError("audio", "reading recordings other than WAV") from error
        from nearfar.frontend.wav import read_wav

        return read_wav(file, start, end)
    # By number, not by name: a name that ends in .raw would be taken at its word.
    source: Any = file if isinstance(file, io.BytesIO) else file.fileno()
    try:
        opened = soundfile.SoundFile(source, closefd=False)
    except (soundfile.SoundFileError, TypeError) as error:
        raise AudioError("no recording of a kind that is read", _said(error)) from error
    with opened as sound:
        rate = checked_rate(sound.samplerate)
        if sound.channels > MOST_CHANNELS:
            raise AudioError("too many channels", f"{sound.channels}; at most {MOST_CHANNELS}")
        begin, stop = part_bounds(sound.frames, rate, start, end)
        try:
            if begin:
                sound.seek(begin)
            pieces = [mono(piece) for piece in sound.blocks(_BLOCK, frames=stop - begin, dtype="float32")]
        except soundfile.SoundFileError as error:
            raise AudioError("damaged", _said(error)) from error
        lossy = sound.format in _LOSSY
    samples = np.concatenate(pieces) if pieces else np.empty(0, np.float32)
    if lossy and not np.abs(samples).max(initial=0.0) <= _LOUDEST:  # also where one is not a number
        raise AudioError("damaged", "it decodes to samples far beyond full scale")
    if len(samples) < stop - begin - _SHORTFALL * rate:
        raise AudioError("cut off", f"{len(samples) / rate:.3g} s of {(stop - begin) / rate:.3g} s are there")
    return samples, rate


def _said(error: Exception) -> str:
    """What libsndfile says, without what it calls the file."""
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
