"""Reading a recipe that is right: YAML as people write it, overrides, paths, and the way back to YAML."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nearfar.recipe import Recipe, dump_recipe, load_recipe, parse_recipe
from nearfar.recipe.data import FolderSource, LeadBodyPairing, SpansPairing
from nearfar.recipe.reference import EXAMPLE
from nearfar.recipe.text import HuggingFaceEncoder, TransformerEncoder

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


def read(text: str = GOOD, *overrides: str) -> Recipe:
    return parse_recipe(text, base=Path("/recipes"), overrides=overrides)


def path_of(recipe: Recipe) -> Path:
    assert isinstance(recipe.data.source, FolderSource)
    return recipe.data.source.path


def test_scalars_are_read_by_yaml_1_2() -> None:
    recipe = read(
        GOOD.replace("docs-search", "no").replace(
            "kind: spans\n      min_tokens: 4", "{kind: lead_body, min_words: 010}"
        )
        + "description: 12:30\ntrain: {learning_rate: 1e-3, epochs: 1e1}\nmethod: {temperature: {learned: yes}}\nseed: 0x10\n"
    )
    assert recipe.name == "no"
    assert recipe.description == "12:30"
    assert recipe.data.pairings == (LeadBodyPairing(kind="lead_body", min_words=10),)
    assert (recipe.train.learning_rate, recipe.train.epochs, recipe.seed) == (0.001, 10.0, 16)
    assert recipe.method.temperature.learned is True


def test_anchors_and_merge_keys() -> None:
    text = GOOD.replace("- kind: spans\n", "- &first\n      kind: spans\n") + "export: {quantise: none}\n"
    text = text.replace("encoder:", "    - {<<: *first, max_tokens: 9}\nencoder:")
    first, second = read(text).data.pairings
    assert first == SpansPairing(kind="spans", min_tokens=4)
    assert second == SpansPairing(kind="spans", min_tokens=4, max_tokens=9)


def test_a_block_without_a_kind_has_the_kind_of_its_default() -> None:
    recipe = read(GOOD + "frontend: {tokenizer: {vocab_size: 800}}\nmethod: {matryoshka: [64]}\n")
    assert recipe.frontend.tokenizer.model_dump()["vocab_size"] == 800
    assert recipe.method.matryoshka == (64,)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_that_editors_write(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(GOOD + "description: räksmörgås 🦐\n", encoding=encoding)
    assert load_recipe(file).description == "räksmörgås 🦐"


def test_overrides_are_yaml_and_apply_in_order() -> None:
    recipe = read(
        GOOD,
        "encoder.dim=64",
        "encoder.dim=128",
        "method.matryoshka=[32, 64]",
        "train.early_stop=null",
        "data.split.validation=0",
        "description=a = b",
        "data.pairings.1={kind: lead_body}",
        "data.pairings.1.min_words=7",
        "frontend.tokenizer.vocab_size=800",
    )
    assert recipe.encoder.model_dump()["dim"] == 128
    assert recipe.method.matryoshka == (32, 64)
    assert recipe.train.early_stop is None
    assert recipe.description == "a = b"
    assert recipe.data.pairings[1] == LeadBodyPairing(kind="lead_body", min_words=7)
    assert recipe.frontend.tokenizer.kind == "train"


def test_an_override_into_a_block_that_is_null_opens_it() -> None:
    recipe = read(GOOD + "train: {early_stop: null}\n", "train.early_stop.patience=5")
    assert recipe.train.early_stop is not None
    assert recipe.train.early_stop.patience == 5


def test_a_new_kind_drops_the_files_keys_of_the_old_one() -> None:
    assert read(GOOD, "data.pairings.0.kind=lead_body").data.pairings == (LeadBodyPairing(kind="lead_body"),)
    encoder = read(GOOD + "  token_dropout: 0.1\n", "encoder.layers=3", "encoder.kind=transformer").encoder
    assert encoder == TransformerEncoder(kind="transformer", dim=256, layers=3)  # dim belongs to both and stays


def test_paths_start_at_the_recipe_or_for_overrides_at_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here, recipes = tmp_path / "home", tmp_path / "here", tmp_path / "project" / "recipes"
    for folder in (home, here, recipes):
        folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    file = recipes / "r.yaml"
    file.write_text(GOOD)
    assert path_of(load_recipe(file)) == tmp_path / "project" / "docs"
    assert path_of(load_recipe("../project/recipes/r.yaml")) == tmp_path / "project" / "docs"
    assert path_of(load_recipe(file, ["data.source.path=notes"])) == here / "notes"
    assert path_of(load_recipe(file, ["data.source.path=/abs"])) == Path("/abs")
    file.write_text(GOOD.replace("../docs", "~/docs"))
    assert path_of(load_recipe(file)) == home / "docs"
    file.write_text(GOOD.replace("{kind: folder, path: ../docs}", "{kind: docstrings, paths: [a, /b]}"))
    assert load_recipe(file).data.source.model_dump()["paths"] == (recipes / "a", Path("/b"))


def test_a_model_is_a_folder_beside_the_recipe_or_else_a_hub_name(tmp_path: Path) -> None:
    text = GOOD.replace("kind: static\n  dim: 256", "kind: hf\n  model: owner/name")
    text += "frontend: {tokenizer: {kind: file, path: tokenizer.json}}\n"

    def model() -> str:
        encoder = parse_recipe(text, base=tmp_path).encoder
        assert isinstance(encoder, HuggingFaceEncoder)
        return encoder.model

    assert model() == "owner/name"
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert model() == str(tmp_path / "owner" / "name")


@pytest.mark.parametrize(
    "description", ["", "1e-3", "yes", "a: b # c", "two\nlines\n", "räk 🦐", "~", "\t", "<<", "0o7"]
)
def test_a_dumped_recipe_is_complete_and_reads_back_equal(tmp_path: Path, description: str) -> None:
    recipe = read(GOOD).model_copy(update={"description": description})
    dumped = dump_recipe(recipe)
    assert parse_recipe(dumped, base=tmp_path) == recipe
    written = yaml.safe_load(dumped)
    assert written["train"]["early_stop"] == {"metric": "ndcg_at_10", "patience": 3}
    assert written["frontend"]["tokenizer"]["kind"] == "train"


def test_the_example_in_the_reference_is_a_recipe() -> None:
    assert read(EXAMPLE).method.matryoshka == (64, 128)


def test_importing_the_schema_does_not_load_the_yaml_reader() -> None:
    code = "import sys, nearfar.recipe.schema; sys.exit('yaml' in sys.modules or 'nearfar.recipe.load' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
