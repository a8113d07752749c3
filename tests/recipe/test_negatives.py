"""The negatives block of a recipe: its defaults, what it refuses, and what the summary and the manifest say of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nearfar.errors import RecipeError
from nearfar.recipe import Recipe, dump_recipe, parse_recipe, summarise
from nearfar.recipe.negatives import Bank, Mined, Negatives, Queue
from nearfar.recipe.provenance import in_words, policy_of

GOOD = """\
name: pairs
data:
  source: {kind: csv, path: pairs.csv}
  pairings: [{kind: columns}, {kind: spans}]
encoder: {kind: static}
train: {batch_size: 256}
"""


def read(block: str = "", *overrides: str) -> Recipe:
    return parse_recipe(GOOD + block, name="r.yaml", base=Path("/recipes"), overrides=overrides)


def row(recipe: Recipe) -> str:
    return dict(summarise(recipe))["negatives"]


def test_by_default_only_the_batch_is_negative() -> None:
    assert read().negatives == Negatives()
    assert row(read()) == "the other pairs of the batch"
    assert list(policy_of(read())["sources"]) == ["batch"]


def test_a_block_that_is_opened_has_defaults_that_work() -> None:
    negatives = read("negatives: {queue: {}, bank: {}, mined: {}}\n").negatives
    assert negatives == Negatives(queue=Queue(), bank=Bank(), mined=Mined())
    assert read("", "negatives.mined.keep=4").negatives.mined == Mined(keep=4)


def test_by_words_there_is_neither_margin_nor_schedule_and_a_dump_reads_back() -> None:
    recipe = read("negatives: {mined: {by: bm25}}\n")
    assert recipe.negatives.mined is not None
    assert recipe.negatives.mined.margin is None
    assert recipe.negatives.mined.every is None
    assert parse_recipe(dump_recipe(recipe), base=Path("/elsewhere")) == recipe
    assert read("", "negatives.mined.by=bm25") == recipe


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            "{queue: {size: 128}}",
            "r.yaml:7: negatives.queue.size is 128, but train.batch_size is 256: the queue would not",
        ),
        ("{queue: {size: 0}}", "r.yaml:7: negatives.queue.size: expected a whole number from 1 to 1000000000, got 0"),
        ("{queue: {momentum: 1.0}}", "negatives.queue.momentum: expected a number of at least 0 and below 1"),
        ("{queue: {start: yes}}", "r.yaml:7: negatives.queue.start: expected a number of at least 0 and below 1, got "),
        ("{bank: {momentum: -0.1}}", "negatives.bank.momentum: expected a number of at least 0 and below 1, got -0.1"),
        ("{bank: {sampel: 3}}", 'negatives.bank.sampel: unknown key; did you mean "sample"?'),
        ("{mined: {depth: 5}}", "negatives.mined: keep (8) and skip (0) need a depth of at least 8, not 5"),
        ("{mined: {keep: 8, skip: 45}}", "negatives.mined: keep (8) and skip (45) need a depth of at least 53, not 50"),
        ("{mined: {per_query: 9}}", "negatives.mined: per_query (9) must not be larger than keep (8)"),
        (
            "{mined: {by: bm25, margin: 0.1}}",
            "negatives.mined: margin (0.1) is a cosine, which by 'bm25' does not have",
        ),
        (
            "{mined: {by: bm25, every: 5}}",
            "negatives.mined: every (5) is for a model that changes; by 'bm25' finds the",
        ),
        ("{mined: {by: words}}", "negatives.mined.by: unknown value 'words' (allowed: model, bm25)"),
        ("{mined: {margin: 3}}", "negatives.mined.margin: expected a number from -2 to 2 or null, got 3"),
        ("{margin: high}", "negatives.margin: expected a number from -2 to 2 or null, got 'high'"),
        ("{debias: 1}", "negatives.debias: expected a number of at least 0 and below 1, got 1"),
        ("{hardness: -1}", "negatives.hardness: expected a number from 0 to 100, got -1"),
        ("null", "negatives: expected a block, got null"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_mend(block: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(f"negatives: {block}\n")
    assert message in str(caught.value)


def test_mining_needs_queries_that_stay_the_same() -> None:
    spans_only = GOOD.replace("[{kind: columns}, {kind: spans}]", "[{kind: spans}]")
    with pytest.raises(
        RecipeError, match=r"r.yaml:8: negatives.mined looks for negatives of fixed queries, but data.pairings"
    ):
        parse_recipe(spans_only + "negatives:\n  mined: {}\n", name="r.yaml", base=Path("/recipes"))
    assert parse_recipe(spans_only + "negatives: {queue: {}}\n", base=Path("/recipes")).negatives.queue == Queue()


EVERYTHING = """\
negatives:
  margin: 0.1
  queue: {size: 4096, momentum: 0.999}
  bank: {sample: null}
  mined: {skip: 2, depth: 20}
  hardness: 0.5
"""


def test_the_summary_says_where_negatives_come_from() -> None:
    assert row(read(EVERYTHING)) == (
        "the other pairs of the batch; a queue of 4,096 documents by a momentum encoder (0.999), from 10% of the steps; "
        "all of a bank (momentum 0.5), from 10%; 1 a query mined by model from its 20 nearest, again every 100 steps, "
        "from 20%; not what is nearer than the positive by more than 0.1; hardness 0.5"
    )
    text = GOOD.replace("{kind: columns}", "{kind: columns, negative: far}")
    assert row(parse_recipe(text, base=Path("/recipes"))) == "the other pairs of the batch, and those given"


def test_the_manifest_says_all_of_it_in_plain_values() -> None:
    policy = policy_of(read(EVERYTHING))
    assert json.loads(json.dumps(policy)) == policy
    assert policy["sources"] == {
        "batch": {"pairs": 256},
        "queue": {"embedded_by": "momentum encoder", "size": 4096, "momentum": 0.999, "start": 0.1},
        "bank": {"momentum": 0.5, "sample": None, "start": 0.1},
        "mined": {"per_query": 1, "start": 0.2},
    }
    assert policy["mining"]["by"] == "model"
    assert (policy["mining"]["depth"], policy["mining"]["keep"], policy["mining"]["every"]) == (20, 8, 100)
    assert "the nearest 2 of the rest" in policy["mining"]["left_out"]
    assert "nearer than the positive by more than -0.05 (cosine)" in policy["mining"]["left_out"]
    assert "more similar to the query than its positive by more than 0.1 (cosine)" in policy["ignored"]
    assert (policy["margin"], policy["debias"], policy["hardness"]) == (0.1, 0.0, 0.5)
    assert policy_of(read())["mining"] is None


def test_the_policy_in_words_names_every_source_and_rule() -> None:
    negatives, mining = in_words(policy_of(read(EVERYTHING)))
    for said in (
        "batch (pairs",
        "queue (embedded by",
        "bank (",
        "mined (per query",
        "hardness 0.",
        "never counted: ",
    ):
        assert said in negatives
    assert mining.startswith("by model (depth ")
    assert "left out: positives of the query" in mining
    assert "None" not in negatives + mining
    assert "debias" not in negatives


def test_the_policy_of_a_plain_run_in_words_is_the_batch_and_no_mining() -> None:
    negatives, mining = in_words(policy_of(read()))
    assert negatives.startswith("batch (pairs ")
    assert "queue" not in negatives
    assert mining == "none"
