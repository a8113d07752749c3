"""From pydantic's list of errors to lines a person can act on: place, key path, what is wrong, what would be right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from nearfar.recipe.located import KeyPath, Located, show_path, show_value
from nearfar.recipe.schema_tree import ANY_ITEM, ANY_NAME, Node

MAX_PROBLEMS = 20
"""Problems listed; one slip of indentation can cause dozens."""


_KEY = "[key]"
"""What pydantic ends the location of a key with, where the key itself is wrong."""

_BAD_NAME = "bad_name"


def explain(error: ValidationError, located: Located, root: Node) -> str:
    """One line for each problem in a recipe, in the order of the file.

    Args:
        error: what pydantic found.
        located: the recipe as it was written.
        root: the schema.

    Returns:
        Lines `file:12: key.path: what is wrong; what to do`.
    """
    problems: dict[KeyPath, tuple[int, str]] = {}
    for details in error.errors(include_url=False):
        path, node = _locate(root, located.data, tuple(step for step in details["loc"] if step != _KEY))
        if details["type"] == "too_short" and len(details["input"]) >= details["ctx"]["min_length"]:
            continue  # pydantic counts only the valid items; what is wrong with the others has its own line
        kind = _BAD_NAME if details["loc"][-1:] == (_KEY,) else str(details["type"])
        problem = _Problem(root, located, path, node, kind, details["input"])
        line = problem.line(str(details["msg"]))
        # A plain union complains once for each of its members, at the same path; one line says it all.
        problems.setdefault(problem.path, (located.origin(problem.cause).line or 0, line))
    for path in _misspelt_instead(problems):
        problems.pop(path, None)
    lines = [line for _, line in sorted(problems.values(), key=lambda entry: entry[0])]
    if len(lines) > MAX_PROBLEMS:
        lines[MAX_PROBLEMS:] = [f"... and {len(lines) - MAX_PROBLEMS} more problems"]
    return "\n".join(lines)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `word` was probably meant to be, if any is near."""
    if len(word) > 60:
        return None
    folded = {_fold(name): name for name in known}
    matches = difflib.get_close_matches(_fold(word), folded, n=1, cutoff=0.6)
    # A shortened word (bf16 for bf16-mixed) is far by edits, and yet what was meant.
    begun = [name for name in folded if len(word) > 2 and name.startswith(_fold(word))]
    return folded[(matches or begun)[0]] if matches or begun else None


def _fold(word: str) -> str:
    return word.lower().replace("-", "_").replace(" ", "_")


def _locate(root: Node, data: Any, loc: tuple[str | int, ...]) -> tuple[KeyPath, Node | None]:
    """The key path that the user wrote and its schema, for a pydantic location.

    Pydantic puts the tag of a union (`encoder.static.dim`) and the type of a union's member (`devices.constrained-int`)
    into its location; the user wrote neither.
    """
    path: KeyPath = ()
    node: Node | None = root
    for segment in loc:
        if node is not None and segment in node.variants:
            node = node.variants[str(segment)]
            continue
        form = None if node is None else node.form(data)
        child = None if form is None else form.child(segment)
        if child is None and form is not None and not form.properties and not form.items:
            break
        path, node = (*path, segment), child
        if isinstance(data, dict):
            data = data.get(segment)
        elif isinstance(data, list) and isinstance(segment, int) and segment < len(data):
            data = data[segment]
    return path, node


class _Problem:
    """One thing that is wrong with a recipe."""

    def __init__(self, root: Node, located: Located, path: KeyPath, node: Node | None, kind: str, value: Any) -> None:
        self._root = root
        self._located = located
        self._node = node
        self._kind = kind
        self._value = value
        self.path = path
        if node is not None and kind in ("union_tag_invalid", "union_tag_not_found"):
            self.path = (*path, str(node.discriminator))
        self.cause = self.path

    def line(self, message: str) -> str:
        """The problem as one line; `message` is pydantic's own, used where a validator of ours wrote it."""
        what = self._what(message)
        where = f"{show_path(self.path)}: " if self.path else ""
        return f"{self._located.origin(self.cause)}: {where}{what}"

    def _what(self, message: str) -> str:
        node = self._node
        if self._kind == "value_error":
            what = message.removeprefix("Value error, ")
            self.cause = self._blamed(what)
            return what
        if self._kind == _BAD_NAME:
            return "a name has lower-case letters, digits and _, starts with a letter, and has at most 24 characters"
        if self._kind == "extra_forbidden" or node is None:
            return self._unknown_key()
        if self._kind == "union_tag_invalid":
            return _not_one_of(self._value.get(node.discriminator), tuple(node.variants))
        if self._kind == "union_tag_not_found":
            return f"missing key; one of {', '.join(node.variants)}"
        if self._kind == "missing":
            self.cause = self._kind_from_command_line()
            purpose = f": {node.description}" if node.description else ""
            return f"missing key; expected {node.expected()}{purpose}"
        if node.allowed and len(node.allowed) > 1 and not node.alternatives:
            return _not_one_of(self._value, node.allowed)
        return self._wrong_value(node)

    def _wrong_value(self, node: Node) -> str:
        what = f"expected {node.expected()}, got {show_value(self._value)}"
        if node.items is not None and isinstance(self._value, str | dict):
            return what + "; write it as an item: [...] or a line that starts with '- '"
        if isinstance(self._value, str) and self._value in node.variants:
            return what + f"; write {{{node.discriminator}: {self._value}}}"
        if node.schema.get("type") == "string" and self._value is None:
            return what + "; write '' for empty text"
        if node.schema.get("type") == "string" and isinstance(self._value, int | float):
            return what + "; put text in quotes"
        return what

    def _unknown_key(self) -> str:
        """Say which key was probably meant: one of this block, of another kind of it, or of another block."""
        key = str(self.path[-1])
        above = self.path[:-1]
        block, data = self._root, self._located.data
        here: list[str] = []
        for segment in above:
            form = block.form(data)
            child = form.child(segment)
            if child is None:
                return "unknown key"
            if here[-1:] == [ANY_NAME]:
                here[-1] = str(data.get(block.discriminator))  # as `Block.inside` has it
            here.append(ANY_ITEM if isinstance(segment, int) else segment if segment in form.properties else ANY_NAME)
            block, data = child, data[segment]
        form = block.form(data)
        known = list(form.properties)
        homes = [home for home in self._root.blocks() if key in home.node.properties]
        other_kinds = [kind for home in homes if home.path == tuple(here) for kind in home.kinds]
        places = dict.fromkeys(show_path(home.path) or "the top level" for home in homes)
        if other_kinds and block.discriminator:
            hint = f"; it belongs to kind {' or '.join(other_kinds)}, not {show_value(data[block.discriminator])}"
        elif guess := nearest(key, known):
            hint = f'; did you mean "{guess}"?'
        else:
            hint = f"; it belongs in {' or '.join(places)}" if places else ""
        return f"unknown key{hint} (known: {', '.join(known)})"

    def _kind_from_command_line(self) -> KeyPath:
        """The `kind` beside a missing key, where a `--set` chose it: that is why the key is needed."""
        kind = (*self.path[:-1], "kind")
        origin = self._located.origins.get(kind)
        return kind if origin is not None and origin.is_override else self.path

    def _blamed(self, message: str) -> KeyPath:
        """The written key that a validator's message names first (one from the command line before all others)."""
        names = re.findall(r"[a-z_][a-z0-9_]*(?:\.[a-z0-9_]+)*", message)
        named = [path for name in names if (path := (*self.path, *name.split("."))) in self._located.origins]
        from_command_line = [path for path in named if self._located.origins[path].is_override]
        return (from_command_line or named or [self.path])[0]


def _not_one_of(value: Any, allowed: tuple[str, ...]) -> str:
    guess = nearest(value, allowed) if isinstance(value, str) else None
    hint = f'; did you mean "{guess}"?' if guess else ""
    return f"unknown value {show_value(value)}{hint} (allowed: {', '.join(allowed)})"


def _misspelt_instead(problems: dict[KeyPath, tuple[int, str]]) -> list[KeyPath]:
    """Missing keys that are there but misspelt: the line about the unknown key is enough."""
    missing = []
    for path, (_, line) in problems.items():
        found = re.search(r'unknown key; did you mean "([^"]+)"', line)
        if found:
            wanted = (*path[:-1], found[1])
            if "missing key" in problems.get(wanted, (0, ""))[1]:
                missing.append(wanted)
    return missing
