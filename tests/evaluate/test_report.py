from __future__ import annotations

import json

import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.evaluate import Interval, RetrievalScores, RetrievalTask, as_figures, as_table, measure, ratios
from nearfar.evaluate.report import as_figure

TASK = RetrievalTask(["a", "b", "c"], [str(i) for i in range(20)], [{3: 1.0}, {4: 1.0}, {5: 1.0}])


def scores_with_answer_at(*places: int) -> RetrievalScores:
    rows = []
    for (answer,), place in zip(TASK.qrels, places, strict=True):
        row = [document for document in range(20) if document != answer]
        row.insert(place, answer)
        rows.append(row)
    return measure(np.array(rows), TASK, resamples=100)


ROWS = {"BM25, plain": scores_with_answer_at(1, 1, 3), "bundle": scores_with_answer_at(0, 0, 1)}


def test_figures_survive_json():
    figures = json.loads(json.dumps(as_figures(ROWS), allow_nan=False))
    assert figures["bundle_recall_at_10"] == {"value": 1.0, "low": 1.0, "high": 1.0, "unit": "share"}
    assert figures["bm25_plain_mrr_at_10"]["value"] == pytest.approx((1 / 2 + 1 / 2 + 1 / 4) / 3)
    assert len(figures) == 10


def test_an_infinite_end_becomes_null():
    figure = as_figure(Interval(3.0, 1.0, float("inf")), "ratio")
    assert json.loads(json.dumps(figure, allow_nan=False)) == {"value": 3.0, "low": 1.0, "high": None, "unit": "ratio"}


def test_two_systems_with_one_key_are_refused():
    with pytest.raises(ValueError, match="share the key 'my_model_"):
        as_figures({"my model": ROWS["bundle"], "My-Model": ROWS["bundle"]})


def test_ratios_are_to_the_baseline_on_the_same_queries():
    compared = ratios(ROWS, "BM25, plain", metric="mrr_at_10")
    assert list(compared) == ["bundle"]
    assert compared["bundle"].value == pytest.approx(2.5 / 1.25)
    assert (compared["bundle"].low, compared["bundle"].high) == pytest.approx((2.0, 2.0))  # every query twice as good
    with pytest.raises(DataError, match="scores 0 on every query"):
        ratios(ROWS, "BM25, plain", metric="recall_at_1")


def test_table_lines_up():
    header, first, second = as_table(ROWS).splitlines()
    assert header.split() == ["nDCG@10", "recall@1", "recall@10", "recall@100", "MRR@10"]
    assert len(header) == len(first) == len(second)
    assert first.startswith("BM25, plain  ")
    assert "1.000 [1.000, 1.000]" in second
    assert as_table({}) == ""
