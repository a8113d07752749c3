"""The tables in README.md and docs/ are made by docs/figures.py, run here as a person would run it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "docs" / "figures.py"
MEASURED = {
    "machine": {"cpu": "two cores", "memory_gb": 8},
    "figures": {
        "bm25_ndcg_at_10": {"value": 0.4, "low": 0.38, "high": 0.4213, "unit": "share"},
        "bundle_ndcg_at_10": {"value": 0.5, "low": 0.48, "high": None, "unit": "share"},
        "bundle_size": {"value": 12345.6, "unit": "kB"},
    },
}


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "docs").mkdir()
    shutil.copy(SCRIPT, tmp_path / "docs")
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    (results / "retrieval.json").write_text(json.dumps(MEASURED))
    return tmp_path


def run(checkout: Path, *options: str) -> subprocess.CompletedProcess[str]:
    script = checkout / "docs" / "figures.py"
    return subprocess.run([sys.executable, script, *options], capture_output=True, text=True, check=False)


def page(rows: str, columns: str, body: str = "") -> str:
    return f"before\n<!-- figures retrieval: rows={rows} columns={columns} -->\n{body}<!-- /figures -->\nafter\n"


def test_tables_are_filled_once_and_stay(checkout):
    readme = checkout / "README.md"
    readme.write_text(page("bm25,bundle", "ndcg_at_10", "an old table\n"))
    assert run(checkout, "--check").returncode == 1
    assert "an old table" in readme.read_text()
    assert run(checkout).returncode == 0
    filled = readme.read_text()
    assert "| bm25 | 0.400 (0.380 to 0.421) |" in filled
    assert "| bundle | 0.500 |" in filled
    assert "Measured on cpu: two cores; memory gb: 8." in filled
    assert "an old table" not in filled
    assert filled.startswith("before\n")
    assert filled.endswith("<!-- /figures -->\nafter\n")
    assert run(checkout, "--check").returncode == 0
    assert run(checkout).returncode == 0
    assert readme.read_text() == filled


def test_a_single_figure_with_a_unit(checkout):
    guide = checkout / "docs" / "guide.md"
    guide.write_text(page("bundle_size", "-"))
    assert run(checkout).returncode == 0
    assert "| bundle size | 12,346 kB |" in guide.read_text()


def test_a_code_block_that_shows_the_comments_is_left_alone(checkout):
    text = "```\n" + page("bm25", "ndcg_at_10") + "```\n"
    (checkout / "README.md").write_text(text)
    assert run(checkout).returncode == 0
    assert (checkout / "README.md").read_text() == text


def test_a_figure_that_nobody_measured_is_named(checkout):
    (checkout / "README.md").write_text(page("bm25", "mrr_at_10"))
    outcome = run(checkout)
    assert outcome.returncode == 1
    assert "README.md: no figure 'bm25_mrr_at_10' was measured" in outcome.stderr
    assert "bm25_ndcg_at_10, bundle_ndcg_at_10, bundle_size" in outcome.stderr


def test_a_turned_table_has_the_rows_side_by_side(checkout):
    readme = checkout / "README.md"
    readme.write_text(page("bm25,bundle", "ndcg_at_10 turned"))
    assert run(checkout).returncode == 0
    filled = readme.read_text()
    assert "| | bm25 | bundle |\n" in filled
    assert "| ndcg at 10 | 0.400 (0.380 to 0.421) | 0.500 |" in filled
    assert run(checkout, "--check").returncode == 0


def test_gaps_are_left_empty_where_the_table_says_so(checkout):
    readme = checkout / "README.md"
    readme.write_text(page("ndcg_at_10,bundle", "size,ndcg_at_10 gaps"))
    assert run(checkout).returncode == 0
    assert "| bundle | 12,346 kB | 0.500 |" in readme.read_text()
    assert "| ndcg at 10 |  |  |" in readme.read_text()
    readme.write_text(page("bm25,bundle", "ndcg_at_10,size turned gaps"))
    assert run(checkout).returncode == 0
    assert "| size |  | 12,346 kB |" in readme.read_text()
    assert run(checkout, "--check").returncode == 0


def test_a_table_of_which_nothing_was_measured_is_an_error_in_spite_of_gaps(checkout):
    (checkout / "README.md").write_text(page("bm52", "ndcg_at_10 gaps"))
    outcome = run(checkout)
    assert outcome.returncode == 1
    assert "README.md: no figure of this table was measured" in outcome.stderr


def test_an_area_that_nobody_measured_stops_unless_there_may_be_gaps(checkout):
    text = page("bm25", "ndcg_at_10", "an old table\n").replace("retrieval", "elsewhere")
    (checkout / "README.md").write_text(text)
    outcome = run(checkout)
    assert outcome.returncode == 1
    assert "elsewhere.json" in outcome.stderr
    text = text.replace("ndcg_at_10 -->", "ndcg_at_10 gaps -->")
    (checkout / "README.md").write_text(text)
    assert run(checkout, "--check").returncode == 0
    assert (checkout / "README.md").read_text() == text


@pytest.mark.parametrize("turned", ["", " turned"])
def test_a_figure_without_the_name_of_a_system_is_that_of_nearfar_beside_others(checkout, turned):
    measured = {"machine": {}, "figures": {"f1": {"value": 0.5}, "f1_bm25": {"value": 0.25}}}
    (checkout / "benchmarks" / "results" / "retrieval.json").write_text(json.dumps(measured))
    (checkout / "README.md").write_text(page("f1", f"-,bm25{turned}"))
    assert run(checkout).returncode == 0
    text = (checkout / "README.md").read_text()
    assert ("| nearfar | 0.500 |" if turned else "| | nearfar | bm25 |") in text
