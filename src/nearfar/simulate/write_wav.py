"""Made recordings as WAV files of 16 bits, a folder for each person and in it one for each session."""

from __future__ import annotations

import wave
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from nearfar.errors import DataError
from nearfar.simulate.voices import Utterance


def write_wav(
    utterances: Iterable[Utterance], folder: Path, rate: int, progress: Callable[[int], None] = lambda _: None
) -> tuple[Path, ...]:
    """Write recordings as `<identity>/<session>/<word>-<number>.wav`.

    Args:
        utterances: one in memory at a time.
        folder: where to; it is made if it does not exist.
        rate: samples a second.
        progress: called with 1 for each.

    Returns:
        The files, in their order.

    Raises:
        DataError: the folder or a file cannot be written.
    """
    files = []
    taken: Counter[tuple[str, str, str]] = Counter()
    try:
        for utterance in utterances:
            place = (utterance.identity, utterance.session, utterance.word)
            taken[place] += 1
            path = folder.joinpath(*place[:2], f"{utterance.word}-{taken[place]}.wav")
            path.parent.mkdir(parents=True, exist_ok=True)
            numbers = np.clip(np.rint(utterance.samples * 32768.0), -32768, 32767).astype("<i2")
            with path.open("wb") as file, wave.open(file, "wb") as sound:
                sound.setnchannels(1)
                sound.setsampwidth(2)
                sound.setframerate(rate)
                sound.writeframes(numbers.tobytes())
            files.append(path)
            progress(1)
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: cannot be written ({error.strerror}): choose another folder"
        ) from error
    return tuple(files)
