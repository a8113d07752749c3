"""Text files line by line, whatever their size: one line in memory at a time, and not even that if it is too long."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from nearfar.errors import DataError
from nearfar.sources.plain import encoding_of

MAX_LINE_CHARS = 32_000_000

_GZIP_MAGIC = b"\x1f\x8b"


def read_lines(
    path: Path, max_chars: int = MAX_LINE_CHARS, ends: tuple[str, ...] = ("\n",)
) -> Iterator[tuple[int, str | None]]:
    r"""Yield each line of a text file with its number from 1, its line end (`\n`, or `\r\n`) kept; gzip is undone.

    The file is UTF-8, or what its byte order mark says. Bytes that are not UTF-8 come as the lone surrogates of
    `surrogateescape` (PEP 383), so that one bad line need not cost the others: see `is_broken`.

    Args:
        path: the file.
        max_chars: a longer line is passed over, and None stands in its place.
        ends: what a line ends with; with `\r` among them, also at a lone one (as old spreadsheets write).

    Raises:
        DataError: the file cannot be read or its compression is damaged; the message says up to where it was good.
    """
    number = 0
    try:
        with _opened(path, "" if "\r" in ends else "\n") as file:
            while line := file.readline(max_chars + 1):
                number += 1
                if len(line) <= max_chars:
                    yield number, line
                    continue
                while line and not line.endswith(ends):
                    line = file.readline(max_chars)
                yield number, None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}:{number + 1}: the compressed file is damaged from here on ({error}); copy it anew"
        ) from error
    except UnicodeDecodeError as error:  # only UTF-16 and UTF-32: what follows a bad unit cannot be trusted
        raise DataError(
            f"{path}:{number + 1}: not valid {error.encoding.upper()} from here on ({error.reason}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def is_broken(line: str) -> bool:
    """Whether a line of `read_lines` held bytes that are not UTF-8."""
    return not line.isascii() and any("\udc80" <= character <= "\udcff" for character in line)


def _opened(path: Path, newline: str) -> IO[str]:
    file = path.open("rb")
    try:
        binary: IO[bytes] = file
        start = file.read(4)
        file.seek(0)
        if start.startswith(_GZIP_MAGIC):
            binary = _gunzipped(file)
            start = binary.read(4)
            binary.seek(0)
        codec, name = encoding_of(start)
        errors = "surrogateescape" if name == "UTF-8" else "strict"
        return io.TextIOWrapper(binary, encoding=codec, errors=errors, newline=newline)
    except BaseException:
        file.close()
        raise


def _gunzipped(file: IO[bytes]) -> IO[bytes]:
    unpacked = gzip.GzipFile(fileobj=file, mode="rb")
    unpacked.myfileobj = file  # type: ignore[assignment]  # closing the outer one closes the file too
    return cast(IO[bytes], unpacked)
