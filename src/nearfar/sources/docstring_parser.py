"""The docstrings of one Python file. Standard library only: this file is also run by itself, as a worker process.

As a worker it reads one JSON list of paths a line from standard input and answers each with one line: the list of what
`read_docstrings` returned. It ends when its input ends, so it cannot outlive whoever started it.
"""

from __future__ import annotations

import ast
import gc
import json
import os
import signal
import sys
import warnings

MAX_FILE_BYTES = 2_000_000

Docstring = tuple[str, int, str]
"""Qualified name inside the module ("" for the module itself), line, cleaned text."""

_DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def read_docstrings(path: str) -> list[Docstring] | str:
    """Parse one file, without importing it, and return its docstrings in source order.

    Args:
        path: a Python file; its encoding is what PEP 263 says.

    Returns:
        The docstrings, or, where the file cannot be used, the reason: `what` or `what|detail`.
    """
    try:
        if os.path.getsize(path) > MAX_FILE_BYTES:  # noqa: PTH202 - pathlib would double the start time of a worker
            return f"Python file over {MAX_FILE_BYTES // 1_000_000} MB"
        with open(path, "rb") as file:  # noqa: PTH123
            source = file.read(MAX_FILE_BYTES)
    except OSError as error:
        return f"cannot be read|{error.strerror or type(error).__name__}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes and the like are for the author of that file
            return _docstrings(ast.parse(source))
    except SyntaxError as error:
        return f"not valid Python|line {error.lineno}: {error.msg}" if error.lineno else f"not valid Python|{error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:  # NUL bytes; expressions nested too deep
        return f"not valid Python|{str(error) or type(error).__name__}"


def _docstrings(module: ast.Module) -> list[Docstring]:
    found: list[Docstring] = []
    text = ast.get_docstring(module)
    if text:
        found.append(("", module.body[0].lineno, text))
    # A stack, not recursion: a long elif chain nests deeper than Python recurses.
    waiting: list[tuple[ast.AST, str]] = [(child, "") for child in reversed(module.body)]
    while waiting:
        node, prefix = waiting.pop()
        if isinstance(node, _DEFINITIONS):
            prefix = f"{prefix}{node.name}"
            text = ast.get_docstring(node)
            if text:
                found.append((prefix, node.lineno, text))
            prefix += "."
        waiting.extend((child, prefix) for child in reversed(_blocks(node)))
    return found


def _blocks(node: ast.AST) -> list[ast.AST]:
    """Return the statements, handlers and cases directly inside `node`; expressions hold no docstrings."""
    return [
        child
        for name in ("body", "handlers", "orelse", "finalbody", "cases")
        for child in getattr(node, name, ())
        if isinstance(child, (ast.stmt, ast.excepthandler, ast.match_case))
    ]


def _serve() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes our input
    gc.disable()  # syntax trees have no cycles, so counting references frees them; a quarter of the time was spent looking
    answers = sys.stdout
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps([read_docstrings(path) for path in json.loads(line)]) + "\n")
        answers.flush()


if __name__ == "__main__":
    try:
        _serve()
    except BrokenPipeError:
        os._exit(0)  # the parent has gone; a normal exit would complain while flushing
