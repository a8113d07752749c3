"""What a user reads when a recipe is wrong: one line for each problem, with file, line, key path and what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ValidationError

from nearfar.errors import RecipeError
from nearfar.recipe import load_recipe, parse_recipe
from nearfar.recipe.located import Located, Origin
from nearfar.recipe.messages import explain
from nearfar.recipe.schema_tree import Node

GOOD = """\
name: docs-search
data:
  source: {kind: folder, path: ../docs}
  pairings:
    - kind: spans
      min_tokens: 4
encoder:
  kind: static
  dim: 256
"""

KINDS_OF_PAIRING = "columns, lead_body, title_body, heading_section, spans, views, identity, healthy, next_action, acted_together, partners"
KINDS_OF_ENCODER = "static, transformer, hf, cnn, resnet, mobilenet, vit, timm, ecapa, mel_cnn, dilated_cnn, patch_transformer, spectral, mlp, feature_tokens, sequence_transformer, sequence_gru, decayed_average, joint"


def complaint(text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, name="r.yaml", base=Path("/recipes"), overrides=overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # Unknown keys, at every level.
        (
            "encoder:",
            "batch_size: 3\nencoder:",
            "r.yaml:7: batch_size: unknown key; it belongs in train (known: name, ",
        ),
        ("encoder:", "sead: 3\nencoder:", 'r.yaml:7: sead: unknown key; did you mean "seed"? (known: name, '),
        ("dim:", "dims:", 'r.yaml:9: encoder.dims: unknown key; did you mean "dim"? (known: kind, dim, '),
        (
            "dim:",
            "layers:",
            "r.yaml:9: encoder.layers: unknown key; it belongs to kind transformer or hf or vit or dilated_cnn or patch_transformer or mlp or feature_tokens or sequence_transformer or sequence_gru, not 'static' (known",
        ),
        ("min_tokens:", "min-tokens:", 'r.yaml:6: data.pairings.0.min-tokens: unknown key; did you mean "min_tokens"?'),
        ("min_tokens:", "min_words:", "r.yaml:6: data.pairings.0.min_words: unknown key; it belongs to kind lead_body"),
        ("dim: 256", "dim: 256\n  zzz: 1", "r.yaml:10: encoder.zzz: unknown key (known: kind, dim, "),
        (
            "encoder:",
            "train:\n  early_stop: {patiense: 2}\nencoder:",
            'r.yaml:8: train.early_stop.patiense: unknown key; did you mean "patience"? (known: metric, patience)',
        ),
        # A key that is misspelt is not also reported as missing.
        ("encoder:", "encodr:", 'r.yaml:7: encodr: unknown key; did you mean "encoder"? (known: name, '),
        ("path: ../docs", "pth: x", 'r.yaml:3: data.source.pth: unknown key; did you mean "path"? (known: kind, path,'),
        # Words that are not allowed.
        (
            "kind: static",
            "kind: statc",
            "r.yaml:8: encoder.kind: unknown value 'statc'; did you mean \"static\"? (allowed: " + KINDS_OF_ENCODER,
        ),
        (
            "kind: spans",
            "kind: [a]",
            f"r.yaml:5: data.pairings.0.kind: unknown value a list of 1 (allowed: {KINDS_OF_PAIRING})",
        ),
        (
            "encoder:",
            "train: {precision: bf16}\nencoder:",
            "r.yaml:7: train.precision: unknown value 'bf16'; did you mean \"bf16-mixed\"? (allowed: 32-true, ",
        ),
        # Missing keys.
        ("  kind: static\n", "", f"r.yaml:7: encoder.kind: missing key; one of {KINDS_OF_ENCODER}"),
        (", path: ../docs", "", "r.yaml:3: data.source.path: missing key; expected a path: The folder; relative paths"),
        ("name: docs-search\n", "", "r.yaml:1: name: missing key; expected text that matches ^[a-z0-9]"),
        # Wrong types and values.
        ("256", "ten", "r.yaml:9: encoder.dim: expected a whole number from 8 to 4096, got 'ten'"),
        ("256", "2", "r.yaml:9: encoder.dim: expected a whole number from 8 to 4096, got 2"),
        ("256", "{a: 1}", "r.yaml:9: encoder.dim: expected a whole number from 8 to 4096, got a block of 1 key"),
        ("name: docs-search", "name: 12", "got 12; put text in quotes"),
        (
            "encoder:",
            "description:\nencoder:",
            "r.yaml:7: description: expected text, got null; write '' for empty text",
        ),
        (
            "encoder:",
            "frontend: null\nencoder:",
            'r.yaml:7: frontend: expected a block with "kind" (text, image, audio, series, table, events, joint), got null',
        ),
        ("  kind: static\n  dim: 256", "  static", "got 'static'; write {kind: static}"),
        (
            "- kind: spans\n      min_tokens: 4",
            "kind: spans",
            "got a block of 1 key; write it as an item: [...] or a line",
        ),
        (
            "    - kind: spans\n      min_tokens: 4",
            "    []",
            "r.yaml:4: data.pairings: expected a list of at least 1 (each ",
        ),
        (
            "encoder:",
            "seed: -1\nencoder:",
            "r.yaml:7: seed: expected a whole number of at least 0 and below 2147483648, got -1",
        ),
        # Combinations that make no sense; the line is that of the key to change, where it was written.
        (
            "min_tokens: 4",
            "min_tokens: 40",
            "r.yaml:6: data.pairings.0: min_tokens (40) must not be larger than max_tokens",
        ),
        (
            "static\n  dim: 256",
            "transformer\n  dim: 100\n  heads: 3",
            "r.yaml:9: encoder: dim (100) must be a multiple of",
        ),
        ("encoder:", "export: {dim: 512}\nencoder:", "r.yaml:7: export.dim is 512, but the encoder gives only 256"),
        (
            "  pairings:",
            "  split: {validation: 0}\n  pairings:",
            "r.yaml:4: train.early_stop needs validation pairs: set",
        ),
        ("spans\n      min_tokens: 4", "columns", "r.yaml:3: data: pairing 'columns' needs a source with columns"),
        # YAML itself.
        ("  dim: 256", "  dim: 256\n  dim: 3", "r.yaml:10: encoder.dim: written twice; the first is on line 9"),
        ("  dim: 256", "\tdim: 256", "r.yaml:9: not valid YAML: a tab; indent with spaces (column 1)"),
        ("  dim: 256", "  dim 256", "r.yaml:9: not valid YAML: a line that is neither 'key: value' nor '- item'"),
        ("  dim: 256", "  dim: 256: 3", "r.yaml:9: not valid YAML: a second ':' in one line, or wrong indentation"),
        ("  dim: 256", "  dim: 256\n---\nfoo: 1", "r.yaml:10: not valid YAML: a second document ('---')"),
        (
            "256",
            "!!python/name:os.system",
            "r.yaml:9: encoder.dim: the tag 'tag:yaml.org,2002:python/name:os.system' is not",
        ),
        ("256", "*other", "r.yaml:9: not valid YAML: found undefined alias 'other' (column 8)"),
        ("256", "!!int ten", "r.yaml:9: encoder.dim: 'ten' cannot be read as int"),
        ("name: docs-search", r'name: "\ud800"', "r.yaml:1: name: half of a surrogate pair"),
        ("name: docs-search", r'name: "\U00999999"', "r.yaml: not valid YAML: a number or \\U escape is out of range"),
        ("docs-search", "docs\0search", "r.yaml:1: not valid YAML: the character U+0000 is not allowed"),
        ("  source", "  [a, b]: 3\n  source", "r.yaml:3: data: a key must be a name, not a list or a block"),
        # Nothing in a message can drive the terminal.
        ("encoder:", '"a\\nb\\e[31m": 3\nencoder:', "r.yaml:7: a\\nb\\x1b[31m: unknown key (known: "),
    ],
)
def test_one_line_says_where_and_what(old: str, new: str, message: str) -> None:
    assert old in GOOD
    found = complaint(GOOD.replace(old, new, 1))
    assert "\n" not in found
    assert found.startswith("r.yaml")
    assert message in found


def test_every_problem_is_listed_in_the_order_of_the_file() -> None:
    text = GOOD.replace("min_tokens: 4", "min_tokens: few").replace("256", "ten") + "sead: 1\n"
    assert [line.split(": ")[:2] for line in complaint(text).splitlines()] == [
        ["r.yaml:6", "data.pairings.0.min_tokens"],
        ["r.yaml:9", "encoder.dim"],
        ["r.yaml:10", "sead"],
    ]


def test_a_flood_of_problems_is_cut_short() -> None:
    lines = complaint(GOOD + "".join(f"zz{n}: 1\n" for n in range(50))).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "... and 30 more problems"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "r.yaml: the recipe is empty; it needs at least name, data, encoder"),
        ("# a comment\n", "r.yaml: the recipe is empty; it needs at least name, data, encoder"),
        ("- a\n", "r.yaml:1: a recipe is a block of keys (name, data, encoder, ...), got a list of 1"),
        ("hello", "r.yaml:1: a recipe is a block of keys (name, data, encoder, ...), got 'hello'"),
        ("[" * 5000, "r.yaml: nested too deeply; a recipe is a few levels of blocks"),
        ("x: &a [*a]", "r.yaml: too many values for a recipe (aliases, *name, count in full); is it the right file?"),
        ("# " + "x" * 300_000, "r.yaml: too large for a recipe (over 256 KiB); is it the right file?"),
    ],
)
def test_what_is_no_recipe_at_all(text: str, message: str) -> None:
    assert complaint(text) == message


def test_a_yaml_bomb_is_refused_without_expanding_it() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40))
    assert "too many values for a recipe (aliases, *name, count in full)" in complaint(GOOD + bomb)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("encoder.dims=3", '--set encoder.dims=3: encoder.dims: unknown key; did you mean "dim"? (known: kind, dim, '),
        (
            "encoder=[]",
            f'--set encoder=[]: encoder: expected a block with "kind" ({KINDS_OF_ENCODER}), got an empty list',
        ),
        ("encodr.dim=3", '--set encodr.dim=3: encodr: unknown key; did you mean "encoder"? (known: name, '),
        ("encoder.dim=ten", "--set encoder.dim=ten: encoder.dim: expected a whole number from 8 to 4096, got 'ten'"),
        ("encoder.kind=hff", "--set encoder.kind=hff: encoder.kind: unknown value 'hff'; did you mean \"hf\"?"),
        ("encoder.kind=hf", "--set encoder.kind=hf: encoder.model: missing key; expected text: A local directory"),
        ("encoder.dim", "--set encoder.dim: expected key=value, with dots between keys: --set train.epochs=3"),
        ("=3", "--set =3: expected key=value"),
        ("encoder..dim=3", "--set encoder..dim=3: expected key=value"),
        ("encoder.dim.x=3", "--set encoder.dim.x=3: encoder.dim is 256, which has no keys inside"),
        ("data.pairings.3.kind=spans", "data.pairings is a list: its positions are 0 to 0, or 1 to add one, not '3'"),
        ("data.pairings.kind=spans", "data.pairings is a list: its positions are 0 to 0, or 1 to add one, not 'kind'"),
        ("data.pairings.²=3", "not '²'"),
        ("encoder={kind: static", "--set encoder={kind: static: not valid YAML: expected ',' or '}'"),
        ("export.dim=512", "--set export.dim=512: export.dim is 512, but the encoder gives only 256 dimensions"),
        (
            "data.pairings.0.min_tokens=90",
            "--set data.pairings.0.min_tokens=90: data.pairings.0: min_tokens (90) must not",
        ),
        ("description=", "--set description=: description: expected text, got null; write '' for empty text"),
    ],
)
def test_a_mistake_on_the_command_line_names_the_command_line(override: str, message: str) -> None:
    found = complaint(GOOD, override)
    assert "\n" not in found
    assert found.startswith("--set ")
    assert message in found


def test_a_key_set_before_the_kind_that_lacks_it_is_not_dropped_in_silence() -> None:
    found = complaint(GOOD, "encoder.token_dropout=0.3", "encoder.kind=transformer")
    assert found.startswith(
        "--set encoder.token_dropout=0.3: encoder.token_dropout: unknown key; it belongs to kind static"
    )


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "notes.yaml").write_text(GOOD)
    (tmp_path / "picture.yaml").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (tmp_path / "huge.yaml").write_bytes(b"#" * 2_000_000)
    (tmp_path / "private.yaml").write_text(GOOD)
    for name, message in {
        "note.yaml": f'no such file; did you mean "{tmp_path / "notes.yaml"}"?',
        ".": "is a folder, not a recipe file; it holds huge.yaml, notes.yaml, picture.yaml, private.yaml",
        "picture.yaml": "not a text file in UTF-8 (byte 0x89 at offset 0); is it the right file?",
        "huge.yaml": "too large for a recipe (over 1024 KiB); is it the right file?",
        "no\0name": "not a file name",
        "x" * 300: "cannot be read: File name too long",
        "notes.yaml/more.yaml": "cannot be read: Not a directory",
    }.items():
        with pytest.raises(RecipeError) as caught:
            load_recipe(f"{tmp_path}/{name}")
        assert str(caught.value).endswith(message)
        assert "\n" not in str(caught.value)


def test_a_plain_union_gives_one_line_for_all_its_members() -> None:
    class Machine(BaseModel):
        devices: int | Literal["auto"]

    schema = Machine.model_json_schema()
    located = Located({"devices": "ten"}, {(): Origin("r.yaml", 1), ("devices",): Origin("r.yaml", 2)})
    with pytest.raises(ValidationError) as caught:
        Machine.model_validate(located.data)
    assert len(caught.value.errors()) == 2
    text = explain(caught.value, located, Node(schema, {}))
    assert text == "r.yaml:2: devices: expected a whole number or \"auto\", got 'ten'"
