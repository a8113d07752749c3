"""Read a recipe: a YAML file and `--set` overrides in, a checked `Recipe` or one `RecipeError` out."""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from nearfar.errors import RecipeError
from nearfar.recipe.distil import Teacher
from nearfar.recipe.joint import TOWER_KINDS, HuggingFaceAudioEncoder, HuggingFaceImageEncoder
from nearfar.recipe.located import KeyPath, Located, show_name, show_value
from nearfar.recipe.messages import explain, nearest
from nearfar.recipe.overrides import apply_override
from nearfar.recipe.schema import Recipe
from nearfar.recipe.schema_tree import Node
from nearfar.recipe.settings import Settings
from nearfar.recipe.text import HuggingFaceEncoder
from nearfar.recipe.yaml_text import MAX_CHARACTERS, read_yaml

_Block = TypeVar("_Block", bound=Settings)

_MAX_BYTES = 4 * MAX_CHARACTERS
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a file.

    Args:
        path: the YAML file. Relative paths inside it start at its folder.
        overrides: changes as `key.path=value`, applied in order. Relative paths in them start at the current folder,
            as everything on a command line does.

    Returns:
        The recipe, complete with defaults; its paths are absolute.

    Raises:
        RecipeError: the file cannot be read or does not make sense; every problem is named with its line.
    """
    path = Path(path)
    return parse_recipe(_read_text(path), name=show_name(str(path)), base=path.parent, overrides=overrides)


def parse_recipe(text: str, *, name: str = "<recipe>", base: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a string.

    Args:
        text: YAML.
        name: what messages call it.
        base: the folder that relative paths start at.
        overrides: as in `load_recipe`.

    Returns:
        The recipe, complete with defaults; its paths are absolute.

    Raises:
        RecipeError: as `load_recipe`.
    """
    root = Node.root()
    located = read_yaml(text, name)
    if located.data is None:
        raise RecipeError(f"{name}: the recipe is empty; it needs at least {', '.join(root.required)}")
    if not isinstance(located.data, dict):
        got = show_value(located.data)
        raise RecipeError(f"{name}:1: a recipe is a block of keys ({', '.join(root.required)}, ...), got {got}")
    _fill_kinds_beside_towers(located.data)
    for override in overrides:
        apply_override(located, override, root)
    _fill_kinds_beside_towers(located.data)
    _fill_default_kinds(located.data, root)
    _fill_kind_of_views(located.data)
    try:
        recipe = Recipe.model_validate(located.data)
    except ValidationError as error:
        raise RecipeError(explain(error, located, root)) from None
    return _Rebase(located, base.resolve()).settings(recipe, ())


def _fill_default_kinds(data: Any, node: Node) -> None:
    """Give a block that was written without its kind the kind of its default, where it has one."""
    if isinstance(data, dict):
        default = node.schema.get("default")
        if node.discriminator and node.discriminator not in data and isinstance(default, dict):
            data[node.discriminator] = default[node.discriminator]
        for key, child in node.form(data).properties.items():
            _fill_default_kinds(data.get(key), child)
        if node.values is not None:
            for held in data.values():
                _fill_default_kinds(held, node.values)
    elif isinstance(data, list) and node.items is not None:
        for item in data:
            _fill_default_kinds(item, node.items)


def _fill_kinds_beside_towers(data: dict[str, Any]) -> None:
    """A tower may say by its name what it is for; and where there are towers, the method is of another kind than by default."""
    towers, method = data.get("towers"), data.get("method")
    if not isinstance(towers, dict) or not towers:
        return
    for name, tower in towers.items():
        if isinstance(tower, dict) and name in TOWER_KINDS:
            tower.setdefault("kind", name)
    if isinstance(method, dict):
        method.setdefault("kind", "clip")


def _fill_kind_of_views(data: dict[str, Any]) -> None:
    """Views are of the kind that the frontend is; for text, which has none, any will do to say so."""
    views, frontend = data.get("views"), data.get("frontend")
    if isinstance(views, dict) and "kind" not in views:
        kind = frontend.get("kind") if isinstance(frontend, dict) else None
        views["kind"] = kind if kind in ("audio", "series") else "image"


class _Rebase:
    """Makes the paths in a recipe absolute: from the recipe's folder, or from the current one for a `--set`."""

    def __init__(self, located: Located, base: Path) -> None:
        self._located = located
        self._base = base

    def settings(self, block: _Block, at: KeyPath) -> _Block:
        """`block`, which stands at `at`, with the paths in it and below it made absolute."""
        changed = {key: self._value(value, (*at, key)) for key, value in block}
        if isinstance(block, HuggingFaceEncoder | HuggingFaceImageEncoder | HuggingFaceAudioEncoder | Teacher):
            # A hub name (`owner/name`) looks like a relative path; it is one only where such a folder (or graph) exists.
            there = self._path(Path(block.model), (*at, "model"))
            if _exists(there):
                changed["model"] = str(there)
        return block.model_copy(
            update={key: value for key, value in changed.items() if value is not getattr(block, key)}
        )

    def _value(self, value: Any, at: KeyPath) -> Any:
        if isinstance(value, Path):
            return self._path(value, at)
        if isinstance(value, Settings):
            return self.settings(value, at)
        if isinstance(value, tuple):
            return tuple(self._value(item, (*at, position)) for position, item in enumerate(value))
        if isinstance(value, dict):
            return {key: self._value(held, (*at, key)) for key, held in value.items()}
        return value

    def _path(self, path: Path, at: KeyPath) -> Path:
        with contextlib.suppress(RuntimeError):  # no such user: then the name really starts with a tilde
            path = path.expanduser()
        base = Path.cwd() if self._located.origin(at).is_override else self._base
        while path.parts[:1] == ("..",):  # exact, because `base` has no symbolic links in it
            base, path = base.parent, Path(*path.parts[1:])
        return base / path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for a path
        return False


def _read_text(path: Path) -> str:
    name = show_name(str(path))
    try:
        if path.is_dir():
            inside = ", ".join(_recipes_in(path))
            raise RecipeError(f"{name}: is a folder, not a recipe file" + (f"; it holds {inside}" if inside else ""))
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        guess = nearest(path.name, _recipes_in(path.parent))
        hint = f'; did you mean "{show_name(str(path.parent / guess))}"?' if guess else ""
        raise RecipeError(f"{name}: no such file{hint}") from None
    except OSError as error:
        raise RecipeError(f"{name}: cannot be read: {error.strerror}") from None
    except ValueError:  # a NUL in the name
        raise RecipeError(f"{name}: not a file name") from None
    if len(content) > _MAX_BYTES:
        raise RecipeError(f"{name}: too large for a recipe (over {_MAX_BYTES // 1024} KiB); is it the right file?")
    try:
        return content.decode("utf-16" if content.startswith(_UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{name}: not a text file in UTF-8 (byte 0x{content[error.start]:02x} at offset {error.start}); "
            "is it the right file?"
        ) from None


def _recipes_in(folder: Path) -> list[str]:
    """Names of the YAML files of `folder`; none when it cannot be listed."""
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.suffix in (".yaml", ".yml"))[:20]
    except OSError:
        return []
