"""`nearfar reranker` as a user types it, on tiny models that lie in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from made_cross_encoders import write_cross_encoder, write_rerank_pairs
from typer.testing import CliRunner

from nearfar.bundle import Bundle
from nearfar.cli.reranker import reranker
from nearfar.edge.reranker import Reranker
from nearfar.errors import BundleError, DataError, NearfarError, RunError

pytest.importorskip("transformers")


def run(*arguments: object) -> str:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(reranker)
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(done.exception, NearfarError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_a_cross_encoder_becomes_a_bundle_that_scores(tmp_path: Path) -> None:
    source, target = write_cross_encoder(tmp_path / "tiny-ranker"), tmp_path / "r.bundle"
    printed = run(source, "-o", target, "--quantise", "none", "--max-tokens", 40)
    assert str(target) in printed
    bundle = Bundle.open(target)
    assert bundle.manifest.name == "tiny-ranker"
    assert bundle.manifest.frontend.kind == "text-pair"
    assert bundle.manifest.frontend.max_tokens == 40
    assert bundle.manifest.provenance.versions.keys() >= {"transformers", "torch", "onnxruntime"}
    scores = Reranker.open(bundle).scores("parse json", ["json.loads", "bread"])
    assert ((scores > 0) & (scores < 1)).all()


@pytest.mark.recipe
def test_pairs_train_it_and_the_card_says_how_well(tmp_path: Path) -> None:
    source = write_cross_encoder(tmp_path / "encoder", head=False)
    pairs = write_rerank_pairs(tmp_path / "my-pairs.jsonl", 60)
    printed = run(source, "-o", tmp_path / "r.bundle", "--pairs", pairs, "--epochs", 1)
    assert "warning: reranking makes the order of BM25 no better" in printed  # it shares words, and the model is tiny
    manifest = Bundle.open(tmp_path / "r.bundle").manifest
    assert manifest.name == "my-pairs"
    assert manifest.scorer is not None
    assert manifest.scorer.scale == "logit"
    assert manifest.metrics.keys() == {"bm25", "reranked"}
    assert manifest.provenance.data_counts["training_queries"] + manifest.provenance.data_counts["test_queries"] == 60
    assert "reordered by this bundle" in (tmp_path / "r.bundle" / "card.md").read_text()


def test_what_is_wrong_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    source = write_cross_encoder(tmp_path / "encoder", head=False)
    target = tmp_path / "r.bundle"
    with pytest.raises(RunError, match="train this one with --pairs"):
        run(source, "-o", target)
    with pytest.raises(DataError, match=r"is no table of pairs: give a \.jsonl"):
        run(source, "-o", target, "--pairs", tmp_path / "pairs.txt")
    with pytest.raises(DataError, match='no column "question"'):
        run(source, "-o", target, "--pairs", write_rerank_pairs(tmp_path / "p.jsonl"), "--query", "question")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="is a folder that is not a bundle"):
        run(source, "-o", tmp_path / "mine")
    assert {entry.name for entry in tmp_path.iterdir()} == {"encoder", "mine", "p.jsonl"}
