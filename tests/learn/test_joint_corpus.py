"""What becomes of tables of partners: items by number, what is held out together, what is alike, and what is left out."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_partners import partners_recipe, write_partners, write_table

from nearfar.errors import DataError
from nearfar.learn.data.alike import MOST, alike_texts
from nearfar.learn.data.joint import JointCorpus, prepare_joint
from nearfar.learn.data.split import DROPPED, TEST, TRAIN, VALIDATION
from nearfar.progress import silent
from nearfar.recipe import Recipe, parse_recipe


def words_recipe(
    table: Path, *, split: dict[str, Any] | None = None, column: str | None = None, group: str | None = None
) -> Recipe:
    """Partners of two towers of texts, in columns a and b."""
    names, file = ("a", "b"), {"split": column, "group": group}
    values = {
        "name": "words",
        "data": {
            "source": {"kind": "pairs", "files": [{"path": str(table), "columns": {n: n for n in names}, **file}]},
            "split": split or {"validation": 0.2, "test": 0.2},
        },
        "encoder": {"dim": 16},
        "towers": {n: {"kind": "text", "encoder": {"kind": "static", "dim": 16}} for n in names},
    }
    return parse_recipe(json.dumps(values), base=table.parent)


def rows_of(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


def words(seed: int, count: int = 5) -> str:
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(count))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path, JointCorpus]:
    folder = tmp_path_factory.mktemp("partners")
    recipe = partners_recipe(write_partners(folder / "in", 72, holes=9))
    return recipe, folder / "data", prepare_joint(recipe, folder / "data")


def test_rows_are_items_by_tower(made: tuple[Recipe, Path, JointCorpus]) -> None:
    _, folder, corpus = made
    counts = corpus.counts
    assert counts.rows == counts.train + counts.validation + counts.test == 72
    assert counts.halves["image"] == {"filled": 70, "missing": 2, "refused": 0}
    assert counts.halves["text"] == {"filled": 142, "missing": 2, "refused": 0}
    assert counts.items["text"] == 107  # 54 descriptions in two languages, of which one stood in a cell that is empty
    assert len(counts.streams) == 10
    assert counts.labels == sorted(counts.labels)
    assert len(counts.labels) == 6
    text = corpus.sides["text"]
    assert set(text.columns.tolist()) == {0, 1}
    # Rows 0 and 54 say the same, so they have the same items, and lie on one side.
    first, again = (text.items[text.starts[row] : text.starts[row + 1]] for row in (0, 54))
    np.testing.assert_array_equal(first, again)
    assert corpus.side[0] == corpus.side[54]
    assert (corpus.alike["text"][:, 0] == np.arange(107)).all()
    assert JointCorpus.open(folder).counts == counts


def test_the_same_tables_elsewhere_give_the_same_corpus(made: tuple[Recipe, Path, JointCorpus], tmp_path: Path) -> None:
    _, _, corpus = made
    (tmp_path / "data" / "towers" / "text").mkdir(parents=True)  # of an attempt that was killed
    (tmp_path / "data" / "towers" / "text" / "half").write_text("x")
    recipe = partners_recipe(write_partners(tmp_path / "in", 72, holes=9))
    other = prepare_joint(recipe, tmp_path / "data", silent)
    np.testing.assert_array_equal(other.side, corpus.side)
    assert other.counts.fingerprint == corpus.counts.fingerprint
    assert not (tmp_path / "data" / "towers" / "text" / "half").exists()


def test_with_an_anchor_and_captions_there_are_other_streams(tmp_path: Path) -> None:
    table = write_partners(tmp_path / "in", 24)
    without = {"audio": None, "series": None}
    pairings = {"pairings": [{"kind": "partners", "anchor": "text", "captions": 0.5}]}
    corpus = prepare_joint(partners_recipe(table, towers=without, data=pairings), tmp_path / "data")
    found = [(stream.left, stream.right, stream.weight) for stream in corpus.counts.streams]
    assert found == [("text", "image", 1.0), ("text", "table", 1.0), ("text", "text", 0.5)]


def test_halves_that_cannot_be_used_are_counted_and_rows_with_one_are_left_out(tmp_path: Path) -> None:
    table = write_partners(tmp_path / "in", 24)
    (tmp_path / "in" / "pictures" / "0003.png").write_bytes(b"no picture")
    (tmp_path / "in" / "pictures" / "0005.png").unlink()
    only = {"audio": None, "series": None, "table": None}
    corpus = prepare_joint(partners_recipe(table, towers=only), tmp_path / "data")
    assert corpus.counts.rows == 22
    assert corpus.counts.alone == 2
    assert corpus.counts.halves["image"] == {"filled": 22, "missing": 0, "refused": 2}
    assert corpus.counts.skipped["no such file"] == 1
    assert any("pairs.csv:" in example for example in corpus.counts.examples)
    with pytest.raises(DataError, match=r"2 items of the pairs source could not be read"):
        prepare_joint(partners_recipe(table, towers=only, data={"bad_rows": "refuse"}), tmp_path / "refused")


def test_where_nothing_can_be_paired_the_message_says_why(tmp_path: Path) -> None:
    lines = [{"picture": f"none-{number}.png", "caption": words(number), "caption_de": ""} for number in range(4)]
    table = write_table(tmp_path / "pairs.csv", lines, ("picture", "caption", "caption_de"))
    recipe = partners_recipe(
        table,
        towers={"audio": None, "series": None, "table": None},
        data={"source": {"files": [{"path": str(table), "columns": {"image": "picture", "text": "caption"}}]}},
    )
    with pytest.raises(DataError, match=r"no row has two sides.*image: 0 filled, 0 missing, 4 refused.*no such file"):
        prepare_joint(recipe, tmp_path / "data")


def test_a_split_that_the_table_has_is_kept_and_copies_of_held_out_rows_are_dropped(tmp_path: Path) -> None:
    rows = [{"a": words(n), "b": words(100 + n), "part": "train"} for n in range(30)]
    rows += [{"a": words(n), "b": words(200 + n), "part": "test"} for n in (0, 50, 51)]
    corpus = prepare_joint(words_recipe(rows_of(tmp_path, *rows), column="part"), tmp_path / "data")
    assert (corpus.side[30:] == TEST).all()
    assert corpus.side[0] == DROPPED  # its `a` is that of a row to test on
    assert (corpus.side[1:30] != TEST).all()
    assert (corpus.side[1:30] == VALIDATION).any()  # what the table lacks is drawn


def test_a_misspelt_split_is_neither_trained_on_nor_tested(tmp_path: Path) -> None:
    rows = [{"a": words(n), "b": words(100 + n), "part": "trian" if n == 3 else "train"} for n in range(30)]
    corpus = prepare_joint(words_recipe(rows_of(tmp_path, *rows), column="part"), tmp_path / "data")
    assert corpus.counts.rows == 29
    assert corpus.counts.skipped == {"unknown split": 1}
    assert "'trian' is none of train, validation, test" in corpus.counts.examples[0]


def test_where_all_rows_are_held_out_the_message_speaks_of_the_split(tmp_path: Path) -> None:
    rows = [{"a": words(n), "b": words(100 + n), "part": "test"} for n in range(9)]
    with pytest.raises(DataError, match=r"nothing is left to train .*some of its rows must say train"):
        prepare_joint(words_recipe(rows_of(tmp_path, *rows), column="part"), tmp_path / "data")


def test_a_word_of_a_class_ties_nothing_but_copies_stay_together(tmp_path: Path) -> None:
    rows = [{"a": f"class {n % 3}", "b": words(n // 2)} for n in range(120)]
    corpus = prepare_joint(words_recipe(rows_of(tmp_path, *rows)), tmp_path / "data")
    assert (corpus.side[::2] == corpus.side[1::2]).all()  # two rows with one `b`
    assert corpus.counts.dropped == 0
    for side in (TRAIN, VALIDATION, TEST):
        assert {n % 3 for n in corpus.rows_of(side)} == {0, 1, 2}


def test_whole_groups_are_held_out(tmp_path: Path) -> None:
    rows = [{"a": words(n), "b": words(900 + n), "who": f"g{n % 10}"} for n in range(100)]
    recipe = words_recipe(rows_of(tmp_path, *rows), split={"by": "group", "test": 0.3, "validation": 0.1}, group="who")
    corpus = prepare_joint(recipe, tmp_path / "data")
    for group in range(10):
        assert len(set(corpus.side[group::10].tolist())) == 1
    assert corpus.counts.test == 30
    nobody = rows_of(tmp_path, *({**row, "who": ""} for row in rows))
    with pytest.raises(DataError, match="the column who is empty in every row"):
        prepare_joint(words_recipe(nobody, split={"by": "group"}, group="who"), tmp_path / "none")


def test_alike_texts_are_those_of_the_formula() -> None:
    rng = random.Random(1)
    vocabulary = [words(n, 1) for n in range(40)]
    texts = list(dict.fromkeys(" ".join(rng.sample(vocabulary, rng.randint(1, 4))) for _ in range(300)))
    found = alike_texts(texts, 0.7)
    assert (found[:, 0] == np.arange(len(texts))).all()
    grams = [{} for _ in texts]  # type: list[dict[str, int]]
    for counts, text in zip(grams, texts, strict=True):
        padded = f" {text} "
        for place in range(len(padded) - 2):
            counts[padded[place : place + 3]] = counts.get(padded[place : place + 3], 0) + 1
    norms = [sum(value * value for value in counts.values()) ** 0.5 for counts in grams]
    for one, others in enumerate(found):
        cosines = {
            two: sum(value * grams[two].get(gram, 0) for gram, value in grams[one].items()) / norms[one] / norms[two]
            for two in range(len(texts))
            if two != one
        }
        wanted = {two for two, cosine in cosines.items() if cosine >= 0.7}
        if len(wanted) < MOST:
            assert set(others[1:][others[1:] >= 0].tolist()) == wanted


def test_of_many_alike_texts_some_are_noted_down() -> None:
    texts = [f"part {number} was checked at the third station and found good" for number in range(200)]
    found = alike_texts(texts, 0.8)
    assert found.shape == (200, MOST)
    assert (found >= 0).all()
    assert alike_texts(["Cat", "cat", "x", ""], 0.8)[:2].tolist() == [[0, 1], [1, 0]]
    assert alike_texts(texts, None).shape == (200, 1)
