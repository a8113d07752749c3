"""Where samples come from, by the name that a person gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nearfar.connect.arrivals import Feed, ThreadFeed, paced
from nearfar.connect.csv_stream import CsvStream, StreamColumns
from nearfar.connect.lines import file_lines, followed, standard_input
from nearfar.connect.mqtt_address import is_mqtt, parse_mqtt
from nearfar.errors import DataError
from nearfar.sources.document import ReadReport


@dataclass(frozen=True)
class Source:
    """An open source of samples.

    Attributes:
        feed: what to ask for samples.
        report: what could not be read so far.
        notes: what should be said of the data; grows while it is read.
        live: whether samples come as they are taken, so that silence means something.
        stored: whether the same samples can come a second time, as from a file.
    """

    feed: Feed
    report: ReadReport
    notes: list[str]
    live: bool
    stored: bool


def open_feed(
    target: str,
    channels: Mapping[str, float | None],
    columns: StreamColumns,
    *,
    follow: bool = False,
    only_new: bool = False,
    speed: float | None = None,
) -> Source:
    """Open what a person names.

    Args:
        target: `-` for standard input, a .csv file, or mqtt(s)://host/topic.
        channels: those of the bundle, with the samples a second of the fast ones.
        columns: of lines: which holds what.
        follow: of a file: wait for what is written to it later.
        only_new: of a file that is followed: pass over what is there already.
        speed: of a file: so many times as fast as it was taken; by default at once.

    Raises:
        DataError: it cannot be read or reached, or options do not fit.
        MissingExtraError: the packages for it are not installed.
    """
    lines_of_a_file = target != "-" and not is_mqtt(target)
    if not lines_of_a_file and (follow or speed is not None):
        raise DataError(f"{'--follow' if follow else '--speed'} is of a file: name one with --from")
    if follow and speed is not None:
        raise DataError("--speed is of a file that is stored, --follow of one that grows: give one of the two")
    if only_new and not follow:
        raise DataError("--only-new is of a file that grows: give --follow too")
    if is_mqtt(target):
        address = parse_mqtt(target, wildcards=True)
        from nearfar.connect.mqtt_feed import MqttFeed

        subscribed = MqttFeed(address, channels, columns.timezone)
        return Source(subscribed, subscribed.report, [], live=True, stored=False)
    if target == "-":
        stream = CsvStream(tuple(channels), columns, where="standard input")
        lines = standard_input()
    else:
        path = Path(target)
        if "://" in target:
            raise DataError(
                f"{target.partition('://')[0]}://: samples come from - (standard input), a .csv file or mqtt(s)://host/topic"
            )
        if path.suffix.lower() in (".parquet", ".gz", ".xlsx"):
            raise DataError(f"{path}: lines of text are watched; to look back at a stored table use nearfar replay")
        if not path.is_file():
            raise DataError(f"{path}: there is no such file")
        stream = CsvStream(tuple(channels), columns, where=str(path))
        lines = followed(path, only_new=only_new) if follow else file_lines(path)
    arrivals = stream.arrivals(lines)
    if speed is not None:
        arrivals = paced(arrivals, speed)
    return Source(
        ThreadFeed(arrivals), stream.report, stream.notes, live=target == "-" or follow, stored=lines_of_a_file
    )
