"""Recipes for tables: what fits together, and how it is summarised."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearfar.errors import RecipeError
from nearfar.recipe import dump_recipe, parse_recipe
from nearfar.recipe.provenance import policy_of
from nearfar.recipe.summary import summarise

RECIPE = """\
name: people
data:
  source: {kind: rows, path: people.csv, columns: {label: kind, categories: [zip]}}
frontend: {kind: table}
encoder: {kind: mlp}
method: {kind: scarf}
"""


def parse(*overrides: str):
    return parse_recipe(RECIPE, name="r.yaml", base=Path("/somewhere"), overrides=overrides)


def test_the_defaults_are_those_of_tables():
    recipe = parse()
    assert recipe.modality == "table"
    assert [pairing.kind for pairing in recipe.data.pairings] == ["views"]
    assert recipe.train.early_stop is None
    assert recipe.evaluate.baselines == ("columns", "untrained")
    method = recipe.of_table.method
    assert (method.corruption, method.anchor, method.temperature) == (0.6, "whole", 1.0)  # as in the paper
    assert recipe.of_table.source.path == Path("/somewhere/people.csv")


def test_it_is_read_as_it_was_written():
    recipe = parse()
    assert parse_recipe(dump_recipe(recipe), name="again.yaml", base=Path("/")) == recipe


def test_the_summary_says_what_is_known_of_the_columns():
    rows = dict(summarise(parse("train.batch_size=64")))
    assert rows["positives"] == "two views of a row"
    assert rows["columns"] == "zip is categories; the rest is found out from the cells"
    assert rows["data"].startswith("rows of /somewhere/people.csv, labels in kind")
    assert "64 rows a step" in rows["training"]


def test_the_policy_names_the_rows_of_the_batch():
    assert policy_of(parse())["sources"] == {"batch": {"rows": 1024, "temperature": 1.0}}


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("encoder={kind: static}", "encoder 'static' does not take what frontend 'table' gives"),
        ("method={kind: simclr}", "method 'simclr' is for pictures: set it to scarf"),
        (
            "frontend={kind: text}",
            "data.source is 'rows', which frontend 'text' does not read: set frontend.kind to table",
        ),
        (
            "data.pairings=[{kind: spans}]",
            "pairing 'spans' is for text, but the source is 'rows'; the pairing of rows is 'views'",
        ),
        ("evaluate.baselines=[bm25]", "evaluate.baselines has bm25, which frontend 'table' cannot be measured by"),
        ("compress={steps: []}", "compress is for text and pictures"),
        ("export.dim=4000", "export.dim is 4000, but the encoder gives only 128 dimensions"),
        ("data.source.columns.ignore=[zip]", "'zip' is named twice: a column has one use"),
        ("encoder={kind: feature_tokens, dim: 10, heads: 4}", "dim .10. must be a multiple of heads .4."),
        ("method.corruption=1.0", "method.corruption"),
        (
            "train.early_stop={}",
            "train.early_stop.metric is ndcg_at_10, which is not measured for frontend 'table'; set it to knn_accuracy",
        ),
        ("views={}", "views"),
    ],
)
def test_what_does_not_fit_is_refused(override, complaint):
    with pytest.raises(RecipeError, match=complaint):
        parse(override)
