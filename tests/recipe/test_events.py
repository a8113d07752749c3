"""Recipes for what users did: defaults, what fits together, and the recipes that ship."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearfar.errors import RecipeError
from nearfar.recipe import dump_recipe, load_recipe, parse_recipe
from nearfar.recipe.summary import summarise

RECIPE = """\
name: shop
data:
  source: {kind: events, path: log.csv}
frontend: {kind: events}
encoder: {kind: sequence_transformer}
method: {kind: next_action}
"""
RECIPES = Path(__file__).parents[2] / "recipes"


def parse(*overrides: str):
    return parse_recipe(RECIPE, name="r.yaml", base=Path("/somewhere"), overrides=overrides)


def test_the_defaults_are_those_of_events():
    recipe = parse()
    assert recipe.modality == "events"
    assert [pairing.kind for pairing in recipe.data.pairings] == ["next_action"]
    assert recipe.data.split.by == "last_actions"
    assert recipe.of_events.source.path == Path("/somewhere/log.csv")
    assert recipe.of_events.source.filters.least_of_item == 5


def test_it_is_read_as_it_was_written():
    recipe = parse("data.source.items={path: items.csv, cold: false}", "data.split.by=time")
    assert parse_recipe(dump_recipe(recipe), name="again.yaml", base=Path("/elsewhere")) == recipe


def test_without_users_the_split_is_by_time():
    assert parse("data.source.columns.user=null").data.split.by == "time"
    with pytest.raises(RecipeError, match="nobody has a last action: set it to time"):
        parse("data.source.columns.user=null", "data.split.by=last_actions")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.source.columns.action=kind", "no kind has a weight: name them"),
        ("data.source.weights.actions={view: 1.0}", "say in columns.action which column holds them"),
        ("data.source.weights.liked=3.0", "say in columns.rating which column holds them"),
        ("data.split.by=random", "of events it is last_actions or time"),
        ("data.split.by=group", "of events it is last_actions or time"),
        ("data.pairings=[{kind: acted_together}]", "hold the rule 'next_action' once"),
        ("data.pairings=[{kind: views}]", "next_action"),
        ("data.source.filters.repeat=-1.0", "data.source.filters.repeat"),
        ("recommend.facts=[year]", "say in data.source.items which it is"),
        ("frontend={kind: table}", "frontend"),
        ("encoder.heads=3", "must be a multiple of heads"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_mend(override: str, message: str):
    with pytest.raises(RecipeError, match=message):
        parse(override)


def test_a_summary_says_what_would_be_done():
    told = dict(
        summarise(
            load_recipe(
                RECIPES / "shop.yaml", ["data.pairings=[{kind: next_action, window: 3}, {kind: acted_together}]"]
            )
        )
    )
    assert told["held out"] == "each user's last action to test, the one before to validate; bad rows: skip"
    assert told["weights"] == "view 1, buy 3, shown 0, dislike -1; less where dwell is below 60 s"
    assert told["left out"].startswith("shorter than 2 s, again within 30 s, of more than 120 an hour")
    assert told["positives"].startswith(
        "what a user did and the next 3 actions, each further one by 0.6; items acted on within 5"
    )
    told = dict(summarise(parse("data.split={by: time, validation: 0.1, test: 0.2}", "data.source.columns.user=null")))
    assert told["held out"].startswith("by time: the latest 20% to test, the 10% before to validate")
    assert told["left out"] == "none; items with fewer than 5: left out"
    assert told["items"] == "known by what is done with them alone"


@pytest.mark.parametrize("name", ["movies", "shop"])
def test_the_recipes_that_ship_are_read(name: str):
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    assert recipe.modality == "events"
    assert recipe.name == name
    assert summarise(recipe)
