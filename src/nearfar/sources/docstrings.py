"""The docstrings of Python code as documents: a corpus that every Python installation already has."""

from __future__ import annotations

import os
import sysconfig
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nearfar.errors import DataError
from nearfar.sources.docstring_workers import parse_files
from nearfar.sources.document import Document, ReadReport
from nearfar.sources.plain import storable
from nearfar.sources.seen import Seen
from nearfar.sources.walk import shown, walk_files

_CACHES = frozenset({"__pycache__"})
_INSTALLED = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True, slots=True)
class _Root:
    """A folder (or one file) of code, and the folder its dotted names start at."""

    path: Path
    names_from: Path
    skip_folders: frozenset[str] = _CACHES


class DocstringsSource:
    """Every docstring of modules, classes, functions and methods, read with `ast`; no code is imported or run.

    A document's title is the dotted name, its parent title the module, its group the top-level package. Exactly equal
    texts are yielded once, at their first place. What is kept meanwhile is 16 bytes a docstring, not its text.

    Args:
        paths: folders or single files; none means the standard library and the installed packages of this Python.
        limit_files: read only so many files, spread evenly over the sorted list of all.
        workers: parser processes; by default one a core, at most 4. 0 parses in this process.
    """

    def __init__(
        self, paths: Sequence[Path] = (), limit_files: int | None = None, *, workers: int | None = None
    ) -> None:
        if limit_files is not None and limit_files < 1:
            raise DataError(f"limit_files is {limit_files}: it must be at least 1, or left out to read every file")
        self.paths = tuple(Path(path) for path in paths)
        self.limit_files = limit_files
        self.workers = workers
        self.report = ReadReport()

    def documents(self) -> Iterator[Document]:
        """Yield the documents, files in sorted order and each file from top to bottom.

        Raises:
            DataError: a path does not exist, or there is no Python file or no docstring under any of them.
        """
        report = self.report = ReadReport()
        roots = [_root_of(path) for path in self.paths] if self.paths else _installed_roots()
        files = self._limited(_python_files(roots, report))
        modules: deque[tuple[str, str]] = deque()  # of the few files under way

        def announced() -> Iterator[str]:
            for root, path in files:
                modules.append(_module_name(path, root))
                yield os.fspath(path)

        texts, names, any_file = Seen(), Seen(), False
        for path, answer in parse_files(announced(), self.workers):
            any_file = True
            module, group = modules.popleft()
            place = shown(path)
            if isinstance(answer, str):
                reason, _, detail = answer.partition("|")
                report.skip(place, reason, detail=detail)
                continue
            for name, line, text in answer:
                text = storable(text)
                if not texts.first_time(text):
                    report.repeated += 1
                    continue
                title = f"{module}.{name}" if name else module
                report.read += 1
                yield Document(
                    id=names.unused(title),
                    text=text,
                    title=title,
                    location=f"{place}:{line}",
                    group=group,
                    parent_title=module,
                )
        if not report.read:
            where = ", ".join(str(root.path) for root in roots)
            found = "no file there has a docstring" if any_file else "there are no .py files"
            first = f" First skipped: {report.examples[0]}." if report.examples else ""
            raise DataError(f"no docstrings in {where}: {found}.{first} Name a folder with Python code.")

    def _limited(self, files: Iterator[tuple[_Root, Path]]) -> Iterator[tuple[_Root, Path]]:
        if self.limit_files is None:
            return files
        every = list(files)
        count = min(self.limit_files, len(every))
        return (every[i * len(every) // count] for i in range(count))


def _python_files(roots: Sequence[_Root], report: ReadReport) -> Iterator[tuple[_Root, Path]]:
    for root in roots:
        for path in walk_files(root.path, lambda name: name.endswith(".py"), report, skip_folders=root.skip_folders):
            yield root, path


def _installed_roots() -> list[_Root]:
    """Return the standard library and the folders that packages are installed in, each once."""
    standard = Path(sysconfig.get_path("stdlib")).resolve()
    roots = {standard: _Root(standard, standard, _CACHES | _INSTALLED)}
    for name in ("purelib", "platlib"):
        folder = Path(sysconfig.get_path(name)).resolve()
        if folder.is_dir():
            roots.setdefault(folder, _Root(folder, folder))
    return list(roots.values())


def _root_of(path: Path) -> _Root:
    """Return `path` as a root; the dotted names inside a package start at the package, wherever in it `path` points."""
    if not path.exists():
        raise DataError(
            f"{path} does not exist: name a folder with Python code, or leave `paths` out to read the installed packages"
        )
    if path.is_file() and path.suffix != ".py":
        raise DataError(f"{path} is not a .py file: name Python files or folders with them")
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - `absolute()` would keep `..`
    top = absolute.parent if path.is_file() else absolute
    while (top / "__init__.py").is_file() and top.parent != top:
        top = top.parent
    return _Root(absolute, top)


def _module_name(path: Path, root: _Root) -> tuple[str, str]:
    """Return the dotted module name and its first part."""
    parts = list(path.relative_to(root.names_from).with_suffix("").parts)
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    names = [shown(part) for part in parts]
    return ".".join(names), names[0]
