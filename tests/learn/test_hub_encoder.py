"""Models of the Hugging Face kind embed here as they do in sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_cross_encoders import write_cross_encoder
from made_sentence_models import write_sentence_model
from tiny_bundle import TEXTS

from nearfar.errors import RunError
from nearfar.learn.hub_encoder import HubEncoder
from nearfar.learn.model_files import find_model
from nearfar.learn.sentence_layout import read_layout

pytest.importorskip("transformers")

BATCH = [*TEXTS, "fox " * 100]


def load(folder: Path, **options: Any) -> HubEncoder:
    return HubEncoder.load(str(folder), read_layout(find_model(str(folder)).root, prompts={}, **options))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("bert", {"said": {"prompts": {"query": "parse ", "document": "bake "}}}),
        ("roberta", {"pooling": {"pooling_mode_cls_token": True}}),
        ("distilbert", {"dense": {}}),
        ("bert", {"dense": {}, "modules": ["Transformer", "Pooling", "Dense"]}),
        ("bert", {"dense": {"activation_function": "torch.nn.modules.linear.Identity"}}),
        ("bert", {"longest": 8, "lowercase": True}),
    ],
)
def test_it_embeds_as_sentence_transformers_does(tmp_path: Path, kind: Any, options: dict[str, Any]) -> None:
    peer = pytest.importorskip("sentence_transformers")
    source = write_sentence_model(tmp_path / "model", kind, **options)
    encoder = load(source)
    assert encoder.dim == (8 if "dense" in options else 32)
    model = peer.SentenceTransformer(str(source), device="cpu", local_files_only=True)
    for side, encode in (("query", model.encode_query), ("document", model.encode_document)):
        wanted = encode(BATCH, normalize_embeddings=True, show_progress_bar=False)
        np.testing.assert_allclose(encoder.embed(BATCH, side), wanted, atol=2e-5)
        ids, mask = encoder.frontend.pad(encoder.frontend.encode(BATCH, side))
        rows = [row[present == 1].tolist() for row, present in zip(ids, mask, strict=True)]
        assert rows == [row.tolist() for row in encoder.frontend.encode(BATCH, side)]
        assert np.abs(wanted @ wanted.T - 1).max() > 0.01  # or everything would agree with everything


def test_an_activation_or_a_module_file_that_is_not_known_is_refused(tmp_path: Path) -> None:
    odd = write_sentence_model(tmp_path / "odd", dense={"activation_function": "torch.nn.modules.activation.Softsign"})
    with pytest.raises(RunError, match="has the activation Softsign, and only Identity"):
        load(odd)
    (odd / "2_Dense" / "config.json").write_text('{"use_residual": true}')
    with pytest.raises(RunError, match="with a residual"):
        load(odd)
    (odd / "2_Dense" / "config.json").write_text("{}")
    (odd / "2_Dense" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(RunError, match="cannot be read as a Dense module"):
        load(odd)


def test_weights_that_are_lost_are_said(tmp_path: Path) -> None:
    source = write_cross_encoder(tmp_path / "m", head=False)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(RunError, match=r"has no weights for encoder\.layer\.2"):
        load(source)
    (source / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(RunError, match="could not be loaded"):
        load(source)
