"""Python code cut at its classes and functions, under their qualified names; nothing is imported or run."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator

from nearfar.sources.code import parse_code
from nearfar.sources.docstring_parser import MAX_FILE_BYTES
from nearfar.sources.sections import Parsed, Section

_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def parse_python(text: str) -> Parsed:
    """Cut Python at classes, functions and methods; a function inside a function stays with it.

    Decorators and the comments right above belong to what they stand over. What is not valid Python (an older version, a
    template), or over 2 MB, is cut as code of any language.
    """
    if len(text) > MAX_FILE_BYTES:  # a syntax tree takes a hundred times its text
        return parse_code(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes and the like are for the author of that file
            module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return parse_code(text)
    # Not splitlines: Python ends lines at \n only (and a form feed is white space to it).
    lines = text.split("\n")
    starts: dict[int, str] = {0: ""}
    for begin, end, name, parent in _definitions(module, ""):
        first = _with_comments(lines, begin - 1)
        starts[first] = name
        starts.setdefault(end, parent)
    sections = []
    places = sorted(place for place in starts if place < len(lines))
    for begin, end in zip(places, [*places[1:], len(lines)], strict=True):
        body = "\n".join(lines[begin:end])
        if body.strip():
            sections.append(Section(starts[begin], body, begin + 1, named_in_body=True))
    return Parsed("", sections)


def _definitions(parent: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[int, int, str, str]]:
    """Yield first line from 1, index after the last line, qualified name, and that of what stands around it."""
    for node in parent.body:
        if isinstance(node, _Definition):
            name = f"{prefix}.{node.name}" if prefix else node.name
            begin = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            yield begin, node.end_lineno or node.lineno, name, prefix
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node, name)


def _with_comments(lines: list[str], index: int) -> int:
    """Return the index of the first of the comment lines right above line `index`, or `index`."""
    while index and lines[index - 1].lstrip().startswith("#"):
        index -= 1
    return index
