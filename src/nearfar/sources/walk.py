"""Walking a folder in name order: no loops, no hidden folders, nothing that cannot be read passed over in silence."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nearfar.errors import DataError
from nearfar.sources.document import ReadReport


def shown(path: str | os.PathLike[str]) -> str:
    r"""Return a path as text that can always be stored and printed; bytes that are not UTF-8 become `\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def files_of(
    path: Path,
    suffixes: tuple[str, ...],
    report: ReadReport,
    *,
    hidden: bool = True,
    skip_folders: frozenset[str] = frozenset(),
    exclude: Sequence[Path] = (),
) -> Iterator[tuple[Path, str]]:
    """Yield each file that a source reads, and its name relative to the source, always with `/`.

    Args:
        path: a folder, or one file, which is yielded whatever its suffix.
        suffixes: with the dot, in lower case.
        report: receives what cannot be read.
        hidden: whether files with a leading dot are read too; hidden folders never are.
        skip_folders: names of folders not to enter.
        exclude: folders not to enter.

    Raises:
        DataError: `path` does not exist.
    """
    if not os.path.lexists(path):
        raise DataError(f"{path} does not exist: name a folder with {', '.join(suffixes[:8])} files")
    if path.is_file():
        yield path, shown(path.name)
        return

    def wanted(name: str) -> bool:
        return name.lower().endswith(suffixes) and (hidden or not name.startswith("."))

    for file in walk_files(path, wanted, report, skip_folders=skip_folders, exclude=exclude):
        yield file, shown(file.relative_to(path).as_posix())


def refuse_nothing(path: Path, suffixes: tuple[str, ...], report: ReadReport, any_file: bool) -> None:
    """Raise a DataError where a source gave nothing at all."""
    if report.read:
        return
    looked_for = ", ".join(suffixes)
    if any_file or report.skipped_total:
        first = "; ".join(report.examples)
        raise DataError(f"{path}: no file there ({looked_for}) holds text that can be used. The first: {first}")
    raise DataError(
        f"{path} holds no file to read: looked for {looked_for} in it and its folders (hidden ones apart). "
        "Name another folder or other suffixes."
    )


def with_dots(suffixes: Sequence[str]) -> tuple[str, ...]:
    """Return suffixes in lower case, each with its dot."""
    return tuple("." + suffix.lower().removeprefix(".") for suffix in suffixes)


def walk_files(
    root: Path,
    wanted: Callable[[str], bool],
    report: ReadReport,
    *,
    skip_folders: frozenset[str] = frozenset(),
    exclude: Sequence[Path] = (),
) -> Iterator[Path]:
    """Yield the regular files under `root`, depth first, the names of each folder in order of their code points.

    A link is followed only where it leads out of `root` (what it names inside is met under its own name anyway), and no
    folder is entered twice, so that links in a circle end.

    Args:
        root: an existing folder.
        wanted: whether a file of this name is asked for.
        report: receives the folders and files that cannot be read.
        skip_folders: folder names not to enter, besides the hidden ones (with a leading dot).
        exclude: folders not to enter; they need not exist.
    """
    inside = os.path.realpath(root)
    # What has been entered is not entered again: so neither is what shall be left out.
    entered = {(status.st_dev, status.st_ino) for folder in exclude if (status := _status(folder))}
    waiting: list[str] = [os.fspath(root)]  # a stack, with the next one on top: nesting may be deeper than recursion
    while waiting:
        path = waiting.pop()
        try:
            if os.path.islink(path) and path != os.fspath(root) and _met_elsewhere(path, inside):  # noqa: PTH114
                continue
            if not os.path.isdir(path):  # noqa: PTH112 - strings: Path objects double the time of a large walk
                if os.path.isfile(path):  # noqa: PTH113 - a named pipe would never end
                    yield Path(path)
                else:
                    report.skip(shown(path), "not a regular file, or a broken link")
                continue
            status = os.stat(path)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(path) as entries:
                kept = [e.path for e in entries if _kept(e, wanted, skip_folders)]
        except OSError as error:
            report.skip(shown(path), "cannot be read", detail=error.strerror or type(error).__name__)
            continue
        waiting.extend(sorted(kept, reverse=True))


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _kept(entry: os.DirEntry[str], wanted: Callable[[str], bool], skip_folders: frozenset[str]) -> bool:
    try:
        is_folder = entry.is_dir()
    except OSError:  # a link to itself
        is_folder = False
    if is_folder:
        return not entry.name.startswith(".") and entry.name not in skip_folders
    return wanted(entry.name)


def _met_elsewhere(link: str, root: str) -> bool:
    """Whether the target of `link` lies under `root` in folders that are walked."""
    target = os.path.realpath(link)
    if target == root:
        return True
    if not target.startswith(os.path.join(root, "")):  # noqa: PTH118
        return False
    return not any(part.startswith(".") for part in Path(target).relative_to(root).parts)
