"""Whatever is thrown at it, reading a recipe ends in a Recipe or in a RecipeError that can be printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import RecipeError
from nearfar.recipe import Recipe, dump_recipe, load_recipe, parse_recipe
from nearfar.recipe.schema_tree import Node

BASE = Path("/recipes")
GOOD: dict[str, Any] = {
    "name": "a",
    "data": {"source": {"kind": "folder", "path": "docs"}, "pairings": [{"kind": "spans"}]},
    "encoder": {"kind": "static", "dim": 64},
}

_BLOCKS = list(Node.root().blocks())
KEYS = sorted({key for block in _BLOCKS for key in block.node.properties})
WORDS = sorted({word for block in _BLOCKS for node in block.node.properties.values() for word in node.allowed})

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(WORDS),
    st.integers(0, 300),
)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=12,
)
# One item a piece of YAML; the space-separated ones hold no space themselves.
yaml_words = st.sampled_from(
    [
        *["{", "}", "[", "]", "&a", "*a", "!!", '"', "'", "#", "1e9", ".nan", "0x", "~", "<<:", "\\U99999999"],
        *("\n", "  ", "    ", "\t", ": ", "- ", ", ", "? ", "!!int ", "|\n", ">-\n", "---\n", "...\n", "%YAML 9.9\n"),
        *("\0", "\ud800", "\ufeff", "\x85"),
        *KEYS,
        *WORDS,
    ]
)
paths = st.lists(st.sampled_from(KEYS) | st.sampled_from(["0", "1", "9", "-1", "²", ""]), min_size=1, max_size=4).map(
    ".".join
)
overrides = st.lists(
    st.text(max_size=20)
    | st.builds("{}={}".format, paths, st.text(max_size=10) | st.lists(yaml_words, max_size=4).map("".join))
    | st.builds("{}={}".format, paths, trees.map(lambda tree: yaml.safe_dump(tree, default_flow_style=True))),
    max_size=3,
)


def ends_well(text: str, given_overrides: list[str]) -> Recipe | None:
    try:
        recipe = parse_recipe(text, name="r.yaml", base=BASE, overrides=given_overrides)
    except RecipeError as error:
        lines = str(error).splitlines()
        assert lines
        for line in lines:
            line.encode("utf-8")  # a lone surrogate could not be printed
            assert line.startswith(("r.yaml", "--set ", "... and "))
            assert line.isprintable()
            assert len(line) < 800
        return None
    assert isinstance(recipe, Recipe)
    return recipe


def with_values(changes: list[tuple[list[Any], Any]]) -> dict[str, Any]:
    """A good recipe with some of its values replaced by nonsense."""
    recipe = yaml.safe_load(yaml.safe_dump(GOOD))
    for keys, value in changes:
        block = recipe
        for key in keys[:-1]:
            if not isinstance(block.get(key), dict):
                block[key] = {}
            block = block[key]
        block[keys[-1]] = value
    return recipe


reachable = [[*[s for s in block.path if s != "*"], key] for block in _BLOCKS for key in block.node.properties]


@given(st.text() | st.lists(yaml_words, max_size=25).map("".join), overrides)
@settings(max_examples=400, deadline=None)
def test_any_text(text: str, given_overrides: list[str]) -> None:
    ends_well(text, given_overrides)


@given(trees)
@settings(max_examples=200, deadline=None)
def test_any_tree(tree: Any) -> None:
    ends_well(yaml.safe_dump(tree), [])


@given(st.lists(st.tuples(st.sampled_from(reachable), trees), max_size=3), overrides)
@settings(max_examples=400, deadline=None)
def test_a_good_recipe_with_anything_in_it(changes: list[tuple[list[Any], Any]], given_overrides: list[str]) -> None:
    recipe = ends_well(yaml.safe_dump(with_values(changes)), given_overrides)
    if recipe is not None:
        assert parse_recipe(dump_recipe(recipe), base=Path("/elsewhere")) == recipe


@given(overrides)
@settings(max_examples=300, deadline=None)
def test_any_override_of_a_good_recipe(given_overrides: list[str]) -> None:
    ends_well(yaml.safe_dump(GOOD), given_overrides)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes(tmp_path_factory: Any, content: bytes) -> None:
    file = tmp_path_factory.mktemp("recipes") / "r.yaml"
    file.write_bytes(content)
    with pytest.raises(RecipeError) as caught:  # 200 bytes of chance never make a recipe
        load_recipe(file)
    assert str(caught.value).startswith(str(file))
