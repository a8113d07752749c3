"""`--set key.path=value`: changes to a recipe from the command line, with the same checks as the file."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from nearfar.errors import RecipeError
from nearfar.recipe.located import KeyPath, Located, Origin, below, show_name, show_path, show_value
from nearfar.recipe.schema_tree import Node
from nearfar.recipe.yaml_text import read_yaml


def apply_override(located: Located, override: str, root: Node) -> None:
    """Change `located` as one `--set` says.

    The value is YAML. Positions in a list count from 0; the position just after the last adds an item. Setting the
    `kind` of a block drops what the file wrote there for another kind.

    Args:
        located: the recipe so far; changed in place.
        override: `key.path=value`.
        root: the schema.

    Raises:
        RecipeError: it is not of that form, or leads through something that has no keys.
    """
    place = f"--set {show_name(override, 80)}"
    name, equals, text = override.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        raise RecipeError(f"{place}: expected key=value, with dots between keys: --set train.epochs=3")
    new = read_yaml(text, place, numbered=False)
    origin = Origin(place, None)

    parent: Any = located.data
    path: KeyPath = ()
    node: Node | None = root
    for key, following in pairwise(keys):
        step = _step(parent, path, key, place)
        node = _child(node, parent, step)
        child = _get(parent, step)
        if child is None:
            # A block that was not written (or was null) starts empty; what is not set keeps its default.
            child = [] if following.isdecimal() else {}
            _put(parent, step, child)
            located.origins[(*path, step)] = origin
        path, parent = (*path, step), child

    step = _step(parent, path, keys[-1], place)
    if node is not None and step == node.discriminator and isinstance(parent, dict):
        _drop_other_kinds_keys(located, path, parent, node, new.data)
    located.forget((*path, step))
    _put(parent, step, new.data)
    for inner, _ in below(new.data):
        located.origins[(*path, step, *inner)] = origin


def _step(parent: Any, path: KeyPath, key: str, place: str) -> str | int:
    """`key` as an index into `parent`."""
    if isinstance(parent, dict):
        return key
    if not isinstance(parent, list):
        raise RecipeError(f"{place}: {show_path(path)} is {show_value(parent)}, which has no keys inside")
    # int() refuses absurdly long digits, and no list here is longer than a few digits say.
    if not (key.isascii() and key.isdecimal() and len(key) < 9 and int(key) <= len(parent)):
        have = f"0 to {len(parent) - 1}, or {len(parent)} to add one" if parent else "0 to add one"
        raise RecipeError(f"{place}: {show_path(path)} is a list: its positions are {have}, not '{show_name(key, 60)}'")
    return int(key)


def _get(parent: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return parent[step] if step < len(parent) else None
    return parent.get(step)


def _put(parent: Any, step: str | int, value: Any) -> None:
    if isinstance(step, int) and step == len(parent):
        parent.append(value)
    else:
        parent[step] = value


def _child(node: Node | None, parent: Any, step: str | int) -> Node | None:
    """The schema of what is at `step`; None where the schema knows nothing (the file's own check will say so)."""
    if node is None:
        return None
    return node.form(parent).child(step)


def _drop_other_kinds_keys(located: Located, path: KeyPath, block: dict[str, Any], node: Node, kind: Any) -> None:
    """Drop the file's keys that the new kind does not have; those of an earlier `--set` stay, to be complained about."""
    if not isinstance(kind, str) or kind not in node.variants:
        return
    for key in block.keys() - node.variants[kind].properties.keys():
        if not located.origin((*path, key)).is_override:
            del block[key]
            located.forget((*path, key))
