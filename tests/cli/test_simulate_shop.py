"""`nearfar simulate shop`: a log and a table of items that the recipe of that name reads."""

from __future__ import annotations

from pathlib import Path

from nearfar.learn.data.prepare_actions import prepare_actions
from nearfar.recipe import load_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "shop.yaml"


def test_a_made_shop_is_read_by_its_recipe(nearfar, tmp_path: Path) -> None:
    code, out, err = nearfar(
        "simulate", "shop", "-o", tmp_path / "shop", "--users", "60", "--items", "80", "--seed", "2"
    )
    assert code == 0, err
    assert "events.csv" in out
    assert "items.csv" in out
    shop = tmp_path / "shop"
    paths = [f"data.source.path={shop / 'events.csv'}", f"data.source.items.path={shop / 'items.csv'}"]
    recipe = load_recipe(RECIPE, paths)
    counts = prepare_actions(recipe.data, recipe.of_events.frontend, tmp_path / "data").counts
    assert counts.users > 50
    assert counts.items == 80
    assert counts.cold >= 4  # what nobody could act on yet
    assert counts.impressions > 100
    assert counts.skipped == {}
    assert {"shorter than least_dwell", "repeated within the seconds of repeat"} <= set(counts.dropped)


def test_a_place_that_cannot_be_written_is_told(nearfar, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", "utf-8")
    code, out, err = nearfar("simulate", "shop", "-o", tmp_path / "file", "--users", "2", "--items", "20")
    assert code != 0
    assert "choose another folder" in err
    assert "Traceback" not in out + err
