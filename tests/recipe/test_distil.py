"""The teacher of a recipe and method distil: defaults, what is refused and how, what the summary and the manifest say."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearfar.errors import RecipeError
from nearfar.recipe import Recipe, dump_recipe, load_recipe, parse_recipe, summarise
from nearfar.recipe.distil import Distil
from nearfar.recipe.provenance import policy_of

GOOD = """\
name: taught
data:
  source: {kind: csv, path: pairs.csv}
  pairings: [{kind: columns}, {kind: spans}]
teacher: {model: teachers/large}
frontend: {tokenizer: {kind: teacher}}
encoder: {kind: static, dim: 384, start: teacher}
method: {kind: distil}
"""
RECIPES = Path(__file__).parents[2] / "recipes"


def read(*overrides: str, text: str = GOOD) -> Recipe:
    return parse_recipe(text, name="r.yaml", base=Path("/recipes"), overrides=overrides)


def method(recipe: Recipe) -> Distil:
    found = recipe.method
    assert isinstance(found, Distil)
    return found


def complaint(*overrides: str, text: str = GOOD) -> str:
    with pytest.raises(RecipeError) as caught:
        read(*overrides, text=text)
    return str(caught.value)


def test_by_default_it_is_a_query_encoder() -> None:
    found = method(read())
    assert found.weights == {"corpus": 1.0}
    assert found.asymmetric
    assert (found.candidates, found.same) == (50_000, 0.95)


@pytest.mark.parametrize(
    ("block", "weights"),
    [
        ("{kind: distil, corpus: 0, embedding: 2}", {"embedding": 2.0}),
        ("{kind: distil, pairs: 0.5}", {"corpus": 1.0, "pairs": 0.5}),
        ("{kind: distil, similarity: 1, contrastive: 3}", {"corpus": 1.0, "similarity": 1.0, "contrastive": 3.0}),
    ],
)
def test_with_any_other_term_the_student_embeds_both_sides(block: str, weights: dict[str, float]) -> None:
    found = method(read(f"method={block}"))
    assert found.weights == weights
    assert not found.asymmetric


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("teacher=null",), "method distil needs a teacher: set teacher.model to a bundle, a model directory or a hub name"),
        (("teacher=null", "method={kind: dual_encoder}"), "frontend.tokenizer teacher needs a teacher"),
        (
            ("teacher=null", "method={kind: dual_encoder}", "frontend={tokenizer: {kind: train}}"),
            "encoder.start teacher needs a teacher",
        ),
        (("method={kind: dual_encoder}",), "teacher is given, but method 'dual_encoder' does not learn from one: set method.kind to distil"),
        (("method.towers=separate",), "method distil has one tower: leave method.towers out"),
        (("negatives.queue={size: 4096}",), "negatives are for the term pairs of method distil: set method.pairs above 0"),
        (("method.matryoshka=[64]",), "method.matryoshka is for the term pairs of method distil: set method.pairs above 0"),
        (("method.pairs=1", "method.matryoshka=[512]"), "method.matryoshka has 512, but the encoder gives only 384"),
        (("method.corpus=0",), "no term has a weight, so nothing would be learned: set corpus to 1.0"),
        (("method.corpus=-1",), "method.corpus"),
        (("method.candidates=1",), "method.candidates"),
        (("method.same=0",), "method.same"),
        (("method.same=1.5",), "method.same"),
        (("method.similarity_temperature=0",), "method.similarity_temperature"),
        (("encoder.projection=64",), "projection has no start of its own: leave it out, or set start to random"),
        (("encoder={kind: hf, model: some/model}",), "encoder 'hf' was pretrained with its own vocabulary"),
        (
            ("encoder={kind: transformer, dim: 384, heads: 4, pooling: cls}",),
            "encoder.pooling is cls, but frontend.tokenizer 'teacher' puts no [CLS] before a text: set pooling to mean",
        ),
        (("export.dim=64",), "export.dim keeps some components of a query only, but documents stay the teacher's"),
        (
            ("compress={steps: [{kind: weights, format: int8}, {kind: prefix, dim: 64}]}",),
            "compress.steps[1] (prefix) keeps some components of a query only",
        ),
        (("teacher={}",), "teacher"),
        (("teacher.modle=x",), 'teacher.modle: unknown key; did you mean "model"?'),
        (("teacher.max_tokens=0",), "teacher.max_tokens"),
        (
            ("method.pairs=1", "negatives.mined={}", "data.pairings=[{kind: spans}]"),
            "negatives.mined looks for negatives of fixed queries",
        ),
    ],
)  # fmt: skip
def test_what_does_not_make_sense_is_said_in_one_line(overrides: tuple[str, ...], message: str) -> None:
    found = complaint(*overrides)
    assert message in found
    assert len(found.splitlines()) == 1


def test_a_student_on_both_sides_may_be_cut() -> None:
    both = "method={kind: distil, corpus: 0, pairs: 1, matryoshka: [64]}"
    assert read(both, "export.dim=64").export.dim == 64
    assert read(both, "compress={steps: [{kind: prefix, dim: 64}]}").compress is not None
    assert read(both, "negatives.queue={size: 4096}", "train.batch_size=64").negatives.queue is not None


def test_pictures_have_no_teacher() -> None:
    text = """\
name: pictures
data:
  source: {kind: images, path: photos}
  pairings: [{kind: views}]
frontend: {kind: image}
encoder: {kind: cnn}
method: {kind: simclr}
"""
    read(text=text)
    assert "teacher is for text: leave it out" in complaint("teacher={model: x}", text=text)
    assert "method 'distil' is for text" in complaint("method={kind: distil}", "teacher={model: x}", text=text)


def test_a_dump_reads_back() -> None:
    recipe = read("method.pairs=1", "method.matryoshka=[64]", "teacher.max_tokens=128")
    assert parse_recipe(dump_recipe(recipe), base=Path("/elsewhere")) == recipe


def test_a_recipe_from_before_reads_as_ever() -> None:
    text = "name: old\ndata:\n  source: {kind: folder, path: notes}\n  pairings: [{kind: spans}]\nencoder: {kind: static}\n"
    recipe = read(text=text)
    assert recipe.teacher is None
    assert recipe.method.kind == "dual_encoder"
    assert not any("teacher" in row for _, row in summarise(recipe))


def test_the_summary_names_the_teacher_and_what_is_learned() -> None:
    said = dict(summarise(read("method.similarity=0.5")))
    whole = " ".join(said.values())
    assert "teachers/large" in said["method"]
    for part in ("the teacher's tokenizer, with the pieces that the data uses", "starting from the teacher"):
        assert part in whole
    assert "corpus" in said["method"]
    assert "similarity" in said["method"]
    assert "50,000" in said["negatives"]


def test_the_manifest_says_what_was_negative() -> None:
    policy = policy_of(read())
    assert policy["sources"]["corpus"] == {"embedded_by": "teacher", "documents": 50_000}
    assert any("0.95" in rule for rule in policy["ignored"])


def test_the_recipe_that_ships_is_a_query_encoder() -> None:
    recipe = load_recipe(RECIPES / "query-encoder.yaml")
    assert method(recipe).asymmetric
    assert recipe.compress is not None
