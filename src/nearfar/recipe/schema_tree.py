"""A way around the recipe's JSON Schema: which keys a block has, which kinds a union has, what a value should be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nearfar.recipe.json_schema import recipe_json_schema
from nearfar.recipe.located import KeyPath

ANY_ITEM = "*"
"""Stands for every position of a list in the paths of `blocks`."""

ANY_NAME = "NAME"
"""Stands for every key that the user chooses in the paths of `blocks`."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of the recipe, or one kind of it.

    Attributes:
        path: where it is; `ANY_ITEM` for a position in a list, `ANY_NAME` for a key of the user's own.
        kinds: the values of `kind` that lead here; empty for a block that has only one form.
        node: its schema.
    """

    path: KeyPath
    kinds: tuple[str, ...]
    node: Node

    @property
    def inside(self) -> KeyPath:
        """Where the blocks in it are: below a key of the user's own those of each kind stand under a name of their own, the kind's."""
        return (*self.path[:-1], self.kinds[0]) if self.path[-1:] == (ANY_NAME,) and self.kinds else self.path


class Node:
    """One place in the schema, with references followed."""

    def __init__(self, schema: dict[str, Any], definitions: dict[str, Any]) -> None:
        if "$ref" in schema:
            # What stands beside a reference (default, description of the key) overrides what stands in its target.
            schema = {**definitions[str(schema["$ref"]).rpartition("/")[2]], **schema}
        self.schema = schema
        self._definitions = definitions

    @classmethod
    def root(cls) -> Node:
        """The whole recipe."""
        schema = recipe_json_schema()
        return cls(schema, schema["$defs"])

    def _node(self, schema: dict[str, Any]) -> Node:
        return Node(schema, self._definitions)

    @property
    def properties(self) -> dict[str, Node]:
        """Key -> what belongs there; empty for anything but a block."""
        return {key: self._node(schema) for key, schema in self.schema.get("properties", {}).items()}

    @property
    def required(self) -> tuple[str, ...]:
        """Keys that must be written."""
        return tuple(self.schema.get("required", ()))

    @property
    def items(self) -> Node | None:
        """What a list holds; None for anything but a list."""
        return self._node(self.schema["items"]) if "items" in self.schema else None

    @property
    def values(self) -> Node | None:
        """What stands under each key of a block whose keys the user chooses; None for anything else."""
        patterns = self.schema.get("patternProperties", {})
        held = next(iter(patterns.values()), self.schema.get("additionalProperties"))
        return self._node(held) if isinstance(held, dict) else None

    def child(self, step: str | int) -> Node | None:
        """What stands under a key or at a position; None where nothing does. Of a union ask one of its forms."""
        return self.items if isinstance(step, int) else self.properties.get(step, self.values)

    @property
    def _union(self) -> dict[str, Any]:
        """The schema that has the `discriminator`: this one, or what stands beside null."""
        return next((s for s in (self.schema, *self.schema.get("anyOf", ())) if "discriminator" in s), {})

    @property
    def variants(self) -> dict[str, Node]:
        """Kind -> block, for a union told apart by `discriminator`; otherwise empty."""
        mapping = self._union.get("discriminator", {}).get("mapping", {})
        return {kind: self._node({"$ref": reference}) for kind, reference in self._in_schema_order(mapping)}

    def _in_schema_order(self, mapping: dict[str, str]) -> list[tuple[str, str]]:
        """Pydantic sorts the mapping by name; the order of the union's members is the author's."""
        order = [member["$ref"] for member in self._union.get("oneOf", ())]
        return sorted(mapping.items(), key=lambda entry: order.index(entry[1]))

    @property
    def discriminator(self) -> str | None:
        """The key that says which variant a block is."""
        name = self._union.get("discriminator", {}).get("propertyName")
        return None if name is None else str(name)

    @property
    def alternatives(self) -> list[Node]:
        """The members of a plain union (`a number or "auto"`); otherwise empty."""
        return [self._node(schema) for schema in self.schema.get("anyOf", ())]

    @property
    def description(self) -> str:
        """What it is for, on one line."""
        return " ".join(str(self.schema.get("description", "")).split())

    @property
    def allowed(self) -> tuple[str, ...]:
        """The words that may be written here, where only some may."""
        if "const" in self.schema:
            return (str(self.schema["const"]),)
        if "enum" in self.schema:
            return tuple(str(word) for word in self.schema["enum"])
        return tuple(word for alternative in self.alternatives for word in alternative.allowed)

    def form(self, value: Any) -> Node:
        """The form that `value` takes here: the variant its kind names, or a union's block unless it is null."""
        if self.discriminator and isinstance(value, dict):
            kind = value.get(self.discriminator)
            return self.variants.get(kind, self) if isinstance(kind, str) else self
        return next((a for a in self.alternatives if a.properties), self)

    def expected(self) -> str:
        """In plain words what may be written here."""
        if self.variants:
            null = " or null" if any(a.schema.get("type") == "null" for a in self.alternatives) else ""
            return f'a block with "{self.discriminator}" ({", ".join(self.variants)}){null}'
        if self.alternatives:
            return " or ".join(alternative.expected() for alternative in self.alternatives)
        if self.allowed:
            return ("one of " if len(self.allowed) > 1 else "") + ", ".join(f'"{word}"' for word in self.allowed)
        match self.schema.get("type"):
            case "null":
                return "null"
            case "boolean":
                return "true or false"
            case "integer":
                return "a whole number" + self._bounds()
            case "number":
                return "a number" + self._bounds()
            case "array":
                least = self.schema.get("minItems", 0)
                of = "" if self.items is None else f" (each {self.items.expected()})"
                return f"a list{f' of at least {least}' if least else ''}{of}"
            case "object":
                return "a block" + (f" (under each name {self.values.expected()})" if self.values is not None else "")
        if self.schema.get("format") == "path":
            return "a path"
        limits = [f"matches {self.schema['pattern']}"] if "pattern" in self.schema else []
        limits += [f"has at most {self.schema['maxLength']} characters"] if "maxLength" in self.schema else []
        return "text" + (f" that {' and '.join(limits)}" if limits else "")

    def _bounds(self) -> str:
        words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
        bounds = {word: _number(self.schema[key]) for key, word in words.items() if key in self.schema}
        if bounds.keys() == {"at least", "at most"}:
            return f" from {bounds['at least']} to {bounds['at most']}"
        text = " and ".join(f"{word} {bound}" for word, bound in bounds.items())
        return f" of {text}" if text.startswith("at") else f" {text}" if text else ""

    def blocks(self, path: KeyPath = ()) -> Iterator[Block]:
        """Every block below and including this one, in the order of the schema; kinds of one form stand together."""
        if self.variants:
            forms: dict[str, list[str]] = {}
            for kind in self.variants:
                forms.setdefault(self._union["discriminator"]["mapping"][kind], []).append(kind)
            for kinds in forms.values():
                variant = self.variants[kinds[0]]
                block = Block(path, tuple(kinds), variant)
                yield block
                yield from variant.nested_blocks(block.inside)
        elif self.properties:
            yield Block(path, (), self)
            yield from self.nested_blocks(path)
        elif self.items is not None:
            yield from self.items.blocks((*path, ANY_ITEM))
        elif self.values is not None:
            yield from self.values.blocks((*path, ANY_NAME))
        else:
            for alternative in self.alternatives:
                yield from alternative.blocks(path)

    def nested_blocks(self, path: KeyPath) -> Iterator[Block]:
        """The blocks below this one."""
        for key, child in self.properties.items():
            yield from child.blocks((*path, key))


def _number(bound: float) -> str:
    return f"{int(bound)}" if bound == int(bound) else repr(bound)
