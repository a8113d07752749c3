"""YAML in and out: plain values with their lines; never objects, never a silent guess.

Scalars follow the YAML 1.2 core schema (https://yaml.org/spec/1.2.2/#103-core-schema), not PyYAML's 1.1: `1e-3` is a
number, and a column called `no`, `on` or `12:30` stays text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from nearfar.errors import RecipeError
from nearfar.recipe.located import KeyPath, Located, Origin, show_path, show_value

if TYPE_CHECKING:
    from nearfar.recipe.schema import Recipe

MAX_CHARACTERS = 256 * 1024
"""Longest recipe read. PyYAML takes about two seconds and 120 MB for this much."""

MAX_EXPANDED = 1_000_000
"""Largest recipe after its aliases are written out (characters, plus `_NODE_COST` a value), against YAML bombs."""

_NODE_COST = 16
_TAG = "tag:yaml.org,2002:"
_CORE_SCALARS = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.nan|\.NaN|\.NAN",
        "-+0123456789.",
    ),
    ("merge", r"<<", "<"),
)


class _Reader(yaml.SafeLoader):
    """PyYAML's safe parser with the scalars of YAML 1.2; only its node tree is used."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own protocol


class _Writer(yaml.SafeDumper):
    """PyYAML's safe writer that also quotes text which would read back as a YAML 1.2 number."""


for _name, _pattern, _first in _CORE_SCALARS:
    _starts = ["" if c == "\0" else c for c in _first]
    _Reader.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})$"), _starts)
    _Writer.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})$"), _starts)


def read_yaml(text: str, source: str, *, numbered: bool = True) -> Located:
    """Parse one YAML document.

    Args:
        text: the document.
        source: its name for messages.
        numbered: whether places have a line (a file), or not (one `--set`).

    Returns:
        Dicts with text keys, lists, str, int, float, bool and None, each with its origin; `data` is None if empty.

    Raises:
        RecipeError: the text is not valid YAML, is too large, or uses what a recipe has no use for.
    """
    if len(text) > MAX_CHARACTERS:
        raise RecipeError(
            f"{source}: too large for a recipe (over {MAX_CHARACTERS // 1024} KiB); is it the right file?"
        )
    try:
        node = _compose(text, source, numbered)
        located = Located(None, {(): Origin(source, 1 if numbered else None)})
        if node is not None:
            if _expanded_size(node, {}) > MAX_EXPANDED:
                raise RecipeError(
                    f"{source}: too many values for a recipe (aliases, *name, count in full); is it the right file?"
                )
            located.data = _Values(located, source, numbered).value(node, ())
    except RecursionError:
        raise RecipeError(f"{source}: nested too deeply; a recipe is a few levels of blocks") from None
    return located


def dump_recipe(recipe: Recipe) -> str:
    """`recipe` as YAML with every default written out; reads back equal."""
    return yaml.dump(recipe.model_dump(mode="json"), Dumper=_Writer, sort_keys=False, allow_unicode=True, width=100)


def _compose(text: str, source: str, numbered: bool) -> yaml.Node | None:
    """The node tree of `text`, or a RecipeError with the line of the mistake."""
    try:
        loader = _Reader(text)
        try:
            node: yaml.Node | None = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        # For a key without a colon PyYAML puts the problem where the next line begins; the context is the key.
        forgotten_colon = "could not find expected ':'" in (error.problem or "")
        mark = (error.context_mark if forgotten_colon else None) or error.problem_mark or error.context_mark
        place = Origin(source, mark.line + 1 if numbered and mark else None)
        at = f" (column {mark.column + 1})" if mark else ""
        raise RecipeError(f"{place}: not valid YAML: {_in_plain_words(error)}{at}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1 if numbered else None
        code = ord(error.character) if isinstance(error.character, str) else error.character
        raise RecipeError(
            f"{Origin(source, line)}: not valid YAML: the character U+{code:04X} is not allowed"
        ) from None
    except (ValueError, OverflowError):
        # PyYAML lets these two escape for "\Uxxxxxxxx" beyond Unicode and for absurd %YAML version numbers.
        raise RecipeError(f"{source}: not valid YAML: a number or \\U escape is out of range") from None
    return node


def _in_plain_words(error: yaml.MarkedYAMLError) -> str:
    problem = " ".join((error.problem or error.context or "cannot be read").split())
    if r"'\t'" in problem:
        return "a tab; indent with spaces"
    if "mapping values are not allowed" in problem:
        return "a second ':' in one line, or wrong indentation; put text that contains ': ' in quotes"
    if "could not find expected ':'" in problem:
        return "a line that is neither 'key: value' nor '- item' (or a key without ':')"
    if "but found another document" in problem:
        return "a second document ('---'); a recipe is one document"
    return problem


def _expanded_size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Size of the tree with every alias written out; computed once a node, so that a bomb costs nothing to measure."""
    known = sizes.get(id(node))
    if known is not None:
        return known
    sizes[id(node)] = MAX_EXPANDED + 1  # an alias that points at a block around itself never ends
    size = _NODE_COST
    if isinstance(node, yaml.ScalarNode):
        size += len(node.value)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_expanded_size(item, sizes) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        size += sum(_expanded_size(key, sizes) + _expanded_size(value, sizes) for key, value in node.value)
    sizes[id(node)] = size
    return size


class _Values:
    """Turns nodes into plain values and writes down where each one stood."""

    def __init__(self, located: Located, source: str, numbered: bool) -> None:
        self._origins = located.origins
        self._source = source
        self._numbered = numbered

    def value(self, node: yaml.Node, path: KeyPath, written: yaml.Node | None = None) -> Any:
        """The value of `node`, written at the line of `written` (its key) or of itself."""
        self._origins[path] = self._at(written or node)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(item, (*path, position)) for position, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        raise self._refuse(node, path, f"the tag {show_value(node.tag)} is not supported; write a plain value")

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._refuse(key_node, path, "a key must be a name, not a list or a block")
            if key_node.tag == _TAG + "merge":
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                continue
            key = str(key_node.value)
            self._no_surrogates(key, key_node, path)
            if key in lines:
                raise self._refuse(key_node, (*path, key), f"written twice; the first is on line {lines[key]}")
            lines[key] = key_node.start_mark.line + 1
            values[key] = self.value(value_node, (*path, key), key_node)
        for block in merged:
            if not isinstance(block, yaml.MappingNode):
                raise self._refuse(block, path, "'<<' merges blocks; this is not one")
            origins, self._origins = self._origins, {}
            inherited, inherited_origins = self._mapping(block, path), self._origins
            self._origins = origins
            for key in inherited.keys() - values.keys():
                origins.update({p: o for p, o in inherited_origins.items() if p[len(path)] == key})
            values = {**inherited, **values}
        return values

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> str | int | float | bool | None:
        text = str(node.value)
        kind = node.tag.removeprefix(_TAG)
        try:
            match kind:
                case "str" | "merge":
                    self._no_surrogates(text, node, path)
                    return text
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "int":
                    return int(text, 0 if text[1:2] in ("o", "x") else 10)
                case "float":
                    return float(re.sub(r"(?i)\.(inf|nan)$", r"\1", text))
        except (ValueError, KeyError):
            raise self._refuse(node, path, f"{show_value(text)} cannot be read as {kind}") from None
        raise self._refuse(node, path, f"the tag {show_value(node.tag)} is not supported; write a plain value")

    def _no_surrogates(self, text: str, node: yaml.Node, path: KeyPath) -> None:
        if any("\ud800" <= c <= "\udfff" for c in text):
            raise self._refuse(node, path, "half of a surrogate pair (\\ud800 to \\udfff) is not text")

    def _at(self, node: yaml.Node) -> Origin:
        return Origin(self._source, node.start_mark.line + 1 if self._numbered else None)

    def _refuse(self, node: yaml.Node, path: KeyPath, why: str) -> RecipeError:
        where = f"{show_path(path)}: " if path else ""
        return RecipeError(f"{self._at(node)}: {where}{why}")
