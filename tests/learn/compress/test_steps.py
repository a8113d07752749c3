"""A step makes a smaller model and leaves the given one as it is; a pruned one is trained on as its run was."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from made_corpus import made_recipe, write_pairs
from made_pictures import digits_recipe
from torch import nn

from nearfar.errors import RunError
from nearfar.learn.compress.model import Form, PictureModel, TextModel
from nearfar.learn.compress.recover import Pruned
from nearfar.learn.compress.steps import check_steps, picture_step, text_step, token_frequency
from nearfar.learn.encoders.static import StaticTextEncoder
from nearfar.learn.negatives import MomentumEncoder
from nearfar.learn.pairs import PreparedPairs, TrainedPairs
from nearfar.learn.pictures import PreparedPictures, TrainedPictures
from nearfar.learn.run import train_run
from nearfar.progress import silent
from nearfar.recipe.compress import (
    ChannelsStep,
    HeadsStep,
    LayersStep,
    PrefixStep,
    RankStep,
    Step,
    VocabularyStep,
    WeightsStep,
)

TRANSFORMER = "{kind: transformer, dim: 16, heads: 2, layers: 2, feedforward: 32}"
SEPARATE = "method.towers=separate"


def trained(folder: Path, *overrides: str, encoder: str) -> TrainedPairs:
    recipe = made_recipe(write_pairs(folder / "pairs.jsonl", 200), "train.epochs=1", *overrides, encoder=encoder)
    run = train_run(recipe, folder / "run")
    assert isinstance(run, TrainedPairs)
    return run


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> TrainedPairs:
    return trained(tmp_path_factory.mktemp("static"), encoder="{kind: static, dim: 32}")


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> TrainedPairs:
    settings = ("method.matryoshka=[]", "negatives.queue={size: 128, momentum: 0.9}")
    return trained(tmp_path_factory.mktemp("transformer"), *settings, encoder=TRANSFORMER)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> TrainedPictures:
    recipe = digits_recipe("train.epochs=0.2", method="{kind: byol}", encoder="{kind: cnn, width: 16, dim: 32}")
    run = train_run(recipe, tmp_path_factory.mktemp("digits") / "run")
    assert isinstance(run, TrainedPictures)
    return run


def text_model(run: TrainedPairs) -> TextModel:
    method = run.embedder().method
    return TextModel(method.query_tower, method.document_tower, run.frontend, method.query_tower.dim)


def picture_model(run: TrainedPictures) -> PictureModel:
    return PictureModel(run.method().encoder, None, 8, 1)


def weights(*modules: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for module in modules for value in module.state_dict().values()]


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_steps_that_only_say_how_the_graph_is_written(static: TrainedPairs, tmp_path: Path) -> None:
    model = text_model(static)
    every: list[tuple[Step, dict[str, Any]]] = [
        (PrefixStep(kind="prefix", dim=8), {"dim": 8}),
        (RankStep(kind="rank", rank=4), {"form": Form(rank=4)}),
        (WeightsStep(kind="weights", format="int4", samples=9), {"form": Form("int4", samples=9)}),
    ]
    for step, changed in every:
        smaller = text_step(model, step, static, tmp_path)
        assert smaller.query is model.query
        assert {name: getattr(smaller, name) for name in changed} == changed
    both = text_step(text_step(model, every[1][0], static, tmp_path), every[2][0], static, tmp_path)
    assert both.form == Form("int4", samples=9, rank=4)


def test_the_frequency_of_tokens_is_that_of_the_training_texts(static: TrainedPairs) -> None:
    counts = token_frequency(static.frontend, static)
    texts = list(static.corpus.training_texts())
    assert counts.shape == (static.frontend.vocab_size,)
    piece = int(static.frontend.encode([texts[0]], "query")[0][0])
    own = sum(piece in ids for text in texts for ids in static.frontend.encode([text], "document"))
    assert counts[piece] == own > 0


def test_a_smaller_vocabulary_leaves_the_given_model_alone(static: TrainedPairs, tmp_path: Path) -> None:
    model = text_model(static)
    before = weights(model.query)
    smaller = text_step(model, VocabularyStep(kind="vocabulary", min_count=2), static, tmp_path)
    assert smaller.frontend.vocab_size < model.frontend.vocab_size == static.frontend.vocab_size
    assert smaller.query is smaller.document
    assert isinstance(smaller.query, StaticTextEncoder)
    assert len(smaller.query.table) == smaller.frontend.vocab_size
    for old, new in zip(before, weights(model.query), strict=True):
        torch.testing.assert_close(old, new, rtol=0, atol=0)


@pytest.mark.parametrize("recover", [0.0, 1.0])
def test_layers_and_heads(transformer: TrainedPairs, tmp_path: Path, recover: float) -> None:
    model = text_model(transformer)
    before = weights(model.query)
    fewer = text_step(model, LayersStep(kind="layers", keep=1, recover=recover), transformer, tmp_path / "layers")
    thinner = text_step(fewer, HeadsStep(kind="heads", keep=0.5, recover=recover), transformer, tmp_path / "heads")
    assert parameters(thinner.query) < parameters(fewer.query) < parameters(model.query)
    for each in (fewer, thinner):
        assert each.query is each.document
    assert not thinner.query.training or not recover
    for old, new in zip(before, weights(model.query), strict=True):
        torch.testing.assert_close(old, new, rtol=0, atol=0)
    assert (tmp_path / "layers" / "fit.json").is_file() == bool(recover)


def test_training_on_changes_a_copy(transformer: TrainedPairs, tmp_path: Path) -> None:
    plain, again = (
        text_step(text_model(transformer), LayersStep(kind="layers", keep=1, recover=r), transformer, tmp_path)
        for r in (0.0, 1.0)
    )
    moved = [not torch.equal(a, b) for a, b in zip(weights(plain.query), weights(again.query), strict=True)]
    assert sum(moved) > len(moved) / 2


def test_separate_towers_are_each_pruned(tmp_path: Path) -> None:
    run = trained(tmp_path, SEPARATE, "method.matryoshka=[]", encoder=TRANSFORMER)
    smaller = text_step(text_model(run), LayersStep(kind="layers", keep=1), run, tmp_path / "log")
    assert smaller.query is not smaller.document
    assert parameters(smaller.query) == parameters(smaller.document)


def test_what_a_pruned_model_is_trained_on_with(transformer: TrainedPairs) -> None:
    """The temperature goes on from where the run left it, and the queue's encoder is a copy of the pruned one."""
    method = transformer.embedder().method
    with torch.no_grad():
        method.log_temperature.fill_(-1.25)
    tower = copy.deepcopy(method.document_tower)
    prepared = PreparedPairs.open(transformer.directory)
    pruned = Pruned(prepared, {"query_tower": tower, "document_tower": tower}, method)
    workload = pruned.workload(transformer.recipe, threads=1, say=lambda _: None)
    assert workload.method.query_tower is workload.method.document_tower is tower
    assert workload.method.log_temperature.item() == -1.25
    (momentum,) = (m for m in workload.surroundings.sources.modules() if isinstance(m, MomentumEncoder))
    assert momentum.copy is not tower
    assert not momentum.copy.training
    for theirs, own in zip(weights(tower), weights(momentum.copy), strict=True):
        torch.testing.assert_close(theirs, own, rtol=0, atol=0)
    assert not any(parameter.requires_grad for parameter in momentum.parameters())


@pytest.mark.parametrize("recover", [0.0, 0.2])
def test_channels(digits: TrainedPictures, tmp_path: Path, recover: float) -> None:
    pytest.importorskip("torch_pruning")
    model = picture_model(digits)
    before = weights(model.encoder)
    smaller = picture_step(model, ChannelsStep(kind="channels", keep=0.5, recover=recover), digits, tmp_path / "log")
    assert parameters(smaller.encoder) < parameters(model.encoder)
    assert smaller.encoder.dim == model.encoder.dim
    for old, new in zip(before, weights(model.encoder), strict=True):
        torch.testing.assert_close(old, new, rtol=0, atol=0)


def test_heads_of_a_vision_transformer(tmp_path: Path) -> None:
    encoder = "{kind: vit, patch: 4, dim: 16, heads: 2, layers: 2, feedforward: 32}"
    run = train_run(digits_recipe("train.epochs=0.1", encoder=encoder), tmp_path / "run")
    assert isinstance(run, TrainedPictures)
    model = picture_model(run)
    smaller = picture_step(model, HeadsStep(kind="heads", keep=0.5, recover=0.1), run, tmp_path / "log", silent)
    assert parameters(smaller.encoder) < parameters(model.encoder)


def test_what_pictures_have_not(digits: TrainedPictures) -> None:
    model = picture_model(digits)
    every: list[tuple[Step, str]] = [
        (VocabularyStep(kind="vocabulary"), "pictures have no vocabulary"),
        (RankStep(kind="rank", rank=2), "only encoder 'static'"),
        (WeightsStep(kind="weights", format="int4"), "set format to int8"),
        (PrefixStep(kind="prefix", dim=33), "there are only 32 components"),
    ]
    for step, message in every:
        with pytest.raises(RunError, match=message):
            check_steps(model, [step])
    check_steps(model, [PrefixStep(kind="prefix", dim=32), WeightsStep(kind="weights", activations="static")])
    assert isinstance(digits.prepared, PreparedPictures)
