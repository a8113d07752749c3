"""`nearfar recipe` as a user runs it, and the page and schema that it writes."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from nearfar.cli.recipe import app
from nearfar.recipe import recipe_json_schema, recipe_reference
from nearfar.recipe.reference import EXAMPLE
from nearfar.recipe.schema_tree import Node

PAGE = Path(__file__).parents[2] / "docs" / "recipe.md"


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_check_says_what_a_run_would_do(tmp_path: Path) -> None:
    file = tmp_path / "notes.yaml"
    file.write_text(EXAMPLE)
    code, out, err = run("check", str(file), "--set", "encoder.dim=128", "--set", "data.source.path=/nowhere")
    assert (code, err) == (0, "")
    assert "folder /nowhere (does not exist yet)" in out
    assert "static, 128 dimensions" in out
    assert "prefixes 64, 128 work on their own" in out


def test_check_summarises_every_kind_of_block(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(
        """\
name: pairs
data:
  source: {kind: csv, path: pairs.csv}
  pairings: [{kind: columns, negative: far}, {kind: title_body}]
frontend: {tokenizer: {kind: file, path: tokenizer.json}}
encoder: {kind: transformer, dim: 64}
train: {early_stop: null}
evaluate: {baselines: []}
export: {quantise: none, dim: 32}
"""
    )
    code, out, _ = run("check", str(file))
    assert code == 0
    assert "columns query and positive, negatives in far; title body" in out
    assert "transformer, 64 dimensions, 2 layers, 4 heads" in out
    assert "float32 weights, first 32 dimensions" in out
    hf = ("--set", "encoder={kind: hf, model: owner/name, projection: 64}", "--set", "frontend.tokenizer={kind: model}")
    code, out, _ = run(
        "check", str(file), *hf, "--set", "data={source: {kind: docstrings}, pairings: [{kind: lead_body}]}"
    )
    assert code == 0
    assert "owner/name (mean pooling, projected to 64 dimensions)" in out
    assert "docstrings of the standard library and installed packages" in out


def test_check_of_a_wrong_recipe_is_exit_2_and_one_line_on_stderr(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(EXAMPLE.replace("dim:", "dims:"))
    code, out, err = run("check", str(file))
    assert (code, out) == (2, "")
    assert err.startswith(f'{file}:10: encoder.dims: unknown key; did you mean "dim"?')
    assert err.count("\n") == 1


def test_schema_and_reference_go_to_the_terminal_or_to_a_file(tmp_path: Path) -> None:
    code, out, _ = run("schema")
    assert code == 0
    assert json.loads(out) == recipe_json_schema()
    for command in ("schema", "reference"):
        target = tmp_path / command
        assert run(command, "-o", str(target))[0] == 0
        assert target.read_text(encoding="utf-8") == run(command)[1]
    code, _, err = run("schema", "-o", str(tmp_path))
    assert code == 2
    assert err == f"{tmp_path}: cannot be written: Is a directory\n"


def test_the_schema_is_of_the_draft_it_names_and_explains_its_keys() -> None:
    schema = recipe_json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["FolderSource"]["properties"]["path"]["description"].startswith("The folder;")
    schema.clear()
    assert recipe_json_schema()  # the caller's copy is the caller's


def test_the_page_is_current() -> None:
    hint = "write it anew: nearfar recipe reference -o docs/recipe.md"
    assert PAGE.read_text(encoding="utf-8") == recipe_reference(), hint


def test_the_page_has_every_key_and_its_links_lead_somewhere() -> None:
    page = recipe_reference()
    headings = {
        "".join(c for c in line.lstrip("# ").lower() if c.isalnum() or c in " _-").strip().replace(" ", "-")
        for line in page.splitlines()
        if line.startswith("#")
    }
    for block in Node.root().blocks():
        for key in block.node.properties:
            assert f"| `{key}` |" in page
    links = [part.split(")")[0] for part in page.split("](#")[1:]]
    assert links
    assert set(links) <= headings
