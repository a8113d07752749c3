"""Cross-encoders of the Hugging Face kind: loaded as they were saved, exported without a change, trained to tell pairs apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from made_cross_encoders import write_cross_encoder, write_rerank_pairs
from tiny_bundle import TEXTS

from nearfar.errors import DataError, RunError
from nearfar.learn.cross_encoder import CrossEncoder, load_cross_encoder
from nearfar.learn.export.reranker import export_reranker_graph
from nearfar.learn.export.reranker_check import check_agreement
from nearfar.learn.judged_pairs import judged_pairs
from nearfar.learn.rerank_training import Schedule, fit_cross_encoder
from nearfar.sources import Pair

pytest.importorskip("transformers")

KINDS = ("bert", "roberta", "distilbert")
PASSAGES = [*TEXTS, "", "fox " * 100]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: write_cross_encoder(folder / kind, kind) for kind in KINDS}


def pairs_of(path: Path) -> list[Pair]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [Pair(row["query"], (row["positive"],)) for row in rows]


@pytest.mark.parametrize("kind", KINDS)
def test_it_scores_as_transformers_does(models, kind):
    """One pair at a time through the model's own tokenizer, so without padding."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    encoder, frontend = load_cross_encoder(str(models[kind]))
    assert encoder.types == (kind == "bert")
    assert frontend.settings.max_tokens == 64
    feed = {
        name: torch.from_numpy(values) for name, values in frontend.pad(frontend.encode("parse json", PASSAGES)).items()
    }
    with torch.no_grad():
        found = encoder(**feed).numpy()
    tokenizer = AutoTokenizer.from_pretrained(models[kind])
    model = AutoModelForSequenceClassification.from_pretrained(models[kind]).eval()
    for passage, score in zip(PASSAGES, found, strict=True):
        tokens = tokenizer(["parse json"], [passage], truncation="only_second", max_length=64, return_tensors="pt")
        with torch.no_grad():
            assert model(**tokens).logits.item() == pytest.approx(score, abs=1e-4)
    assert np.ptp(found) > 0.1  # or everything would agree with everything


@pytest.mark.parametrize(("kind", "quantise"), [("bert", "int8"), ("roberta", "none"), ("distilbert", "int8")])
def test_the_graph_agrees_with_the_model(models, kind, quantise):
    encoder, frontend = load_cross_encoder(str(models[kind]))
    graph = export_reranker_graph(encoder, max_tokens=64, quantise=quantise)
    session = onnxruntime.InferenceSession(graph)

    def score(query, passages):
        return session.run(["score"], frontend.pad(frontend.encode(query, passages)))[0]

    assert [node.name for node in session.get_inputs()] == list(frontend.inputs)
    check_agreement(encoder, frontend, score, quantised=quantise == "int8")
    with pytest.raises(RunError, match=r"correlate .* by only" if quantise == "int8" else "away from the model"):
        check_agreement(encoder, frontend, lambda q, p: score(q, p)[::-1], quantised=quantise == "int8")


@pytest.mark.parametrize(
    ("noted", "scale"),
    [
        ({}, "logit"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}, "logit"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, "free"),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, "free"),
    ],
)
def test_the_scale_is_what_the_model_was_trained_with(tmp_path, noted, scale):
    assert load_cross_encoder(str(write_cross_encoder(tmp_path / "m", config=noted)))[0].scale == scale


def test_what_is_no_cross_encoder_is_refused(tmp_path):
    labels = write_cross_encoder(tmp_path / "labels", outputs=3)
    with pytest.raises(RunError, match=r"BertForSequenceClassification with 3 outputs.*--pairs"):
        load_cross_encoder(str(labels))
    bare = write_cross_encoder(tmp_path / "bare", head=False)
    with pytest.raises(RunError, match=r"it is BertModel, where.*--pairs"):
        load_cross_encoder(str(bare))
    claims = write_cross_encoder(
        tmp_path / "claims", head=False, config={"architectures": ["BertForSequenceClassification"], "num_labels": 1}
    )
    with pytest.raises(RunError, match=r"has no weights for classifier\.(bias|weight)"):
        load_cross_encoder(str(claims))
    for directory in (labels, bare):  # both will do to train one of
        assert load_cross_encoder(str(directory), new_head=True)[0].scale == "logit"


def test_what_cannot_be_loaded_is_a_clear_error(tmp_path, models, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for source in (str(tmp_path), str(tmp_path / "nothing"), "nobody/no-such-model"):
        with pytest.raises(RunError, match=r"could not be loaded.*Give a directory"):
            load_cross_encoder(source)
    with pytest.raises(RunError, match=r"max_tokens is 65, but .* takes only 64"):
        load_cross_encoder(str(models["roberta"]), max_tokens=65)
    with pytest.raises(RunError, match=r"max_tokens 4 .*set it to"):
        load_cross_encoder(str(models["bert"]), max_tokens=4)


def test_a_new_head_is_the_same_for_the_same_seed(tmp_path):
    bare = str(write_cross_encoder(tmp_path / "bare", head=False))
    heads = [load_cross_encoder(bare, new_head=True, seed=seed)[0].model.classifier.weight for seed in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_no_passage_of_a_held_out_query_is_trained_on(tmp_path):
    training = judged_pairs(pairs_of(write_rerank_pairs(tmp_path / "p.jsonl", 60)), test=0.3)
    assert training.test is not None
    seen = {text for judged in training.judged for text in (*judged.positives, *judged.negatives)}
    for judged in training.test.qrels:
        assert not seen & {training.test.documents[number] for number in judged}
    assert len(training.judged) + len(training.test.queries) == 60
    for judged in training.judged:
        assert not set(judged.positives) & set(judged.negatives)


def test_named_negatives_come_before_mined_ones():
    pairs = [Pair("red", ("red one",), ("red two",)), Pair("blue", ("blue red one",)), Pair("red", ("red three",))]
    judged = {judged.query: judged for judged in judged_pairs(pairs, test=0.0).judged}
    assert judged["red"].positives == ("red one", "red three")
    assert judged["red"].negatives == ("red two",)
    assert "red one" not in judged["red"].negatives
    with pytest.raises(DataError, match="1 queries with 1 passages"):
        judged_pairs(pairs[:1], test=0.0)


@pytest.mark.recipe
def test_training_tells_answers_from_the_rest_and_can_be_repeated(tmp_path):
    """What answers starts with another word than what does not: a model that learns anything at all finds that."""
    source = str(write_cross_encoder(tmp_path / "m", config={"num_hidden_layers": 1}))
    queries = [row.query for row in pairs_of(write_rerank_pairs(tmp_path / "p.jsonl"))]
    training = judged_pairs([Pair(query, (f"parse {query}",), (f"bake {query}",)) for query in queries], test=0.0)

    def told_apart(encoder: CrossEncoder, frontend) -> float:
        right = 0
        for judged in training.judged:
            feed = frontend.pad(frontend.encode(judged.query, [judged.positives[0], judged.negatives[0]]))
            with torch.no_grad():
                good, bad = encoder(**{name: torch.from_numpy(values) for name, values in feed.items()})
            right += bool(good > bad + 1.0)
        return right / len(training.judged)

    loaded = [load_cross_encoder(source, new_head=True) for _ in range(2)]
    assert told_apart(*loaded[0]) < 0.5
    for encoder, frontend in loaded:
        fit_cross_encoder(encoder, frontend, training, Schedule(epochs=10, negatives=2, learning_rate=1e-2))
    assert told_apart(*loaded[0]) > 0.9
    weights = [dict(encoder.named_parameters()) for encoder, _ in loaded]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_training_that_diverges_says_so(tmp_path):
    encoder, frontend = load_cross_encoder(str(write_cross_encoder(tmp_path / "m")))
    training = judged_pairs(pairs_of(write_rerank_pairs(tmp_path / "p.jsonl")), test=0.0)
    with torch.no_grad():
        encoder.model.classifier.bias.fill_(float("nan"))
    with pytest.raises(RunError, match="the loss of step 1 is nan: train with a lower learning rate"):
        fit_cross_encoder(encoder, frontend, training, Schedule())
