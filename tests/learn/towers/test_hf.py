"""Towers of `transformers`: the vectors are those of its own code, in torch and in the graph that ships."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F

if importlib.util.find_spec("transformers") is None:
    pytest.skip("needs transformers", allow_module_level=True)

from made_hf_towers import MEAN, SIZE, STD, made_clap, made_clip, made_vision, made_waves

from nearfar.errors import RunError
from nearfar.learn.clips import audio_settings
from nearfar.learn.encoders.hf_audio import HuggingFaceSoundEncoder, build_hf_audio_encoder
from nearfar.learn.encoders.hf_image import build_hf_image_encoder
from nearfar.learn.encoders.huggingface import HuggingFaceTextEncoder
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.export.audio import export_audio_graph
from nearfar.learn.export.image import export_image_graph
from nearfar.learn.export.text import export_graph
from nearfar.recipe.audio import AudioFrontendSettings
from nearfar.recipe.joint import HuggingFaceAudioEncoder, HuggingFaceImageEncoder
from nearfar.recipe.text import HuggingFaceEncoder

TEXTS = ["a photo of a small red circle", "the sound of a dog", "", "green square on the ground"]


@pytest.fixture(scope="module", autouse=True)
def offline() -> object:
    """Whatever a test asks for, no hub is asked."""
    patch = pytest.MonkeyPatch()
    patch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants

    patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    yield
    patch.undo()


def image_encoder(folder: Path, **given: Any) -> ImageEncoder:
    settings = HuggingFaceImageEncoder(kind="hf", model=str(folder))
    return build_hf_image_encoder(settings, **{"size": SIZE, "channels": 3} | given)


def sound_encoder(folder: Path, *, rate: int, **frontend: Any) -> HuggingFaceSoundEncoder:
    audio = audio_settings(AudioFrontendSettings(kind="audio", rate=rate, **frontend))
    return build_hf_audio_encoder(HuggingFaceAudioEncoder(kind="hf", model=str(folder)), audio)


def text_encoder(folder: Path) -> HuggingFaceTextEncoder:
    return HuggingFaceTextEncoder(HuggingFaceEncoder(kind="hf", model=str(folder)), pad_id=1)


def sounds(count: int, length: int, rate: int) -> torch.Tensor:
    """Tones in noise, (count, length)."""
    source, time = torch.Generator().manual_seed(0), torch.arange(length) / rate
    pitch = 200 * 1.7 ** torch.arange(count)[:, None]
    return 0.2 * torch.sin(2 * np.pi * pitch * time) + 0.02 * torch.randn(count, length, generator=source)


def least_cosine(first: Any, second: Any) -> float:
    return float(F.cosine_similarity(torch.as_tensor(first), torch.as_tensor(second)).min())


@torch.no_grad()
@pytest.mark.parametrize("kind", ["clip", "siglip", "vit", "dinov2"])
def test_pictures_get_the_vectors_of_transformers(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModel

    encoder = image_encoder(made_vision(kind, tmp_path)).eval()
    pictures = torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    normal = (pictures - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    model = AutoModel.from_pretrained(tmp_path).eval()
    if kind in ("clip", "siglip"):
        wanted = model.get_image_features(pixel_values=normal).pooler_output
    else:
        wanted = model(pixel_values=normal).last_hidden_state[:, 0]
    assert encoder.dim == wanted.shape[1]
    torch.testing.assert_close(encoder(pictures), wanted, atol=1e-5, rtol=1e-4)
    assert not [name for name, _ in encoder.named_parameters() if "text" in name or "logit" in name]
    graph = ort.InferenceSession(export_image_graph(encoder, size=SIZE, channels=3, dim=None, quantise="none"))
    (found,) = graph.run(["embedding"], {"pixels": pictures.numpy()})
    assert least_cosine(found, wanted) > 0.9999
    encoder.normalise_by([0.1] * 3, [0.1] * 3)  # measured on other pictures
    torch.testing.assert_close(encoder(pictures), wanted, atol=1e-5, rtol=1e-4)


def test_int8_keeps_the_directions_of_a_vision_tower(tmp_path: Path) -> None:
    encoder = image_encoder(made_vision("vit", tmp_path)).eval()
    pictures = torch.rand(8, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    content = export_image_graph(
        encoder, size=SIZE, channels=3, dim=None, quantise="int8", calibration=[pictures.numpy()]
    )
    (found,) = ort.InferenceSession(content).run(["embedding"], {"pixels": pictures.numpy()})
    with torch.no_grad():
        assert least_cosine(found, encoder(pictures)) > 0.98


def test_a_vision_tower_that_does_not_fit_is_said_before_training(tmp_path: Path) -> None:
    made_vision("vit", tmp_path)
    with pytest.raises(RunError, match=r"does not take pictures of 24 x 24 pixels .*: set frontend.size to 32"):
        image_encoder(tmp_path, size=24)
    with pytest.raises(RunError, match=r"frontend.channels is 1, but .* sees red, green and blue: set it to 3"):
        image_encoder(tmp_path, channels=1)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(RunError, match=r"could not be loaded: .*preprocessor_config.json"):
        image_encoder(tmp_path)
    with pytest.raises(RunError, match="which sees no pictures: give a model such as CLIP"):
        image_encoder(made_waves("wav2vec2", tmp_path / "waves"))


def test_fresh_weights_are_those_of_a_checkpoint_to_come(tmp_path: Path) -> None:
    trained = image_encoder(made_vision("clip", tmp_path))
    fresh = image_encoder(tmp_path, weights=False)
    assert fresh.training
    fresh.load_state_dict(trained.state_dict())
    pictures = torch.rand(2, 3, SIZE, SIZE)
    torch.testing.assert_close(fresh.eval()(pictures), trained.eval()(pictures))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["wav2vec2", "wavlm"])
def test_samples_get_the_vectors_of_transformers(kind: str, tmp_path: Path) -> None:
    from transformers import AutoFeatureExtractor, AutoModel

    encoder = sound_encoder(made_waves(kind, tmp_path, normalise=kind != "wavlm"), rate=16_000).eval()
    model, extractor = AutoModel.from_pretrained(tmp_path).eval(), AutoFeatureExtractor.from_pretrained(tmp_path)
    graph = ort.InferenceSession(export_audio_graph(encoder, dim=None, quantise="none"))
    for length in (4_000, 20_000):
        waves = sounds(3, length, 16_000)
        values = extractor(list(waves.numpy()), sampling_rate=16_000, return_tensors="pt").input_values
        wanted = model(values).last_hidden_state.mean(dim=1)
        torch.testing.assert_close(encoder(waves), wanted, atol=1e-4, rtol=1e-3)
        (found,) = graph.run(["embedding"], {"pcm": waves.numpy()})
        assert least_cosine(found, wanted) > 0.9999


@torch.no_grad()
@pytest.mark.parametrize("fusion", [False, True])
def test_clap_hears_what_transformers_hears(tmp_path: Path, fusion: bool) -> None:
    from transformers import ClapFeatureExtractor, ClapModel

    encoder = sound_encoder(made_clap(tmp_path, fusion=fusion), rate=48_000).eval()
    model, extractor = ClapModel.from_pretrained(tmp_path).eval(), ClapFeatureExtractor.from_pretrained(tmp_path)
    graph = None if fusion else ort.InferenceSession(export_audio_graph(encoder, dim=None, quantise="none"))
    for length in (12_000, 84_000, 384_000):
        waves = sounds(2, length, 48_000)
        seen = extractor(list(waves.numpy()), sampling_rate=48_000, return_tensors="pt")
        wide = torch.as_tensor(seen["input_features"])[:, :1].transpose(2, 3).squeeze(1)
        torch.testing.assert_close(encoder.prepared(waves), wide, atol=0.05, rtol=1e-3)
        wanted = model.get_audio_features(seen["input_features"], is_longer=torch.zeros(2, 1)).pooler_output
        assert least_cosine(encoder(waves), wanted) > 0.999
        if graph is not None:
            (found,) = graph.run(["embedding"], {"pcm": waves.numpy()})
            assert least_cosine(found, encoder(waves)) > 0.9999
    assert not [name for name, _ in encoder.named_parameters() if "text" in name or "logit" in name]


def test_a_sound_tower_in_int8_comes_from_its_weights(tmp_path: Path) -> None:
    encoder = sound_encoder(made_waves("wav2vec2", tmp_path), rate=16_000).eval()
    waves = sounds(3, 8_000, 16_000)
    content = export_audio_graph(encoder, dim=None, quantise="int8", calibration=[waves.numpy()])
    (found,) = ort.InferenceSession(content).run(["embedding"], {"pcm": waves.numpy()})
    with torch.no_grad():
        assert least_cosine(found, encoder(waves)) > 0.98


def test_only_torch_draws_while_a_sound_tower_trains(tmp_path: Path) -> None:
    """A resumed run restores torch's generator; what numpy draws would differ."""
    encoder = sound_encoder(made_waves("wav2vec2", tmp_path), rate=16_000)
    assert encoder.training
    waves, found = sounds(2, 16_000, 16_000), []
    for numpy_seed in (0, 1):
        np.random.seed(numpy_seed)
        torch.manual_seed(0)
        found.append(encoder(waves))
    assert torch.equal(*found)
    assert all(parameter.requires_grad for parameter in encoder.parameters())


@torch.no_grad()
@pytest.mark.parametrize("kind", ["wav2vec2", "clap"])
def test_pieces_are_hidden_from_it(kind: str, tmp_path: Path) -> None:
    clap = kind == "clap"
    rate = 48_000 if clap else 16_000
    encoder = sound_encoder(made_clap(tmp_path) if clap else made_waves(kind, tmp_path), rate=rate).eval()
    waves, none = sounds(2, rate, rate), torch.zeros(2, 2)
    torch.testing.assert_close(
        encoder.with_hidden(waves, time=none, frequency=none), encoder(waves), atol=1e-4, rtol=1e-4
    )
    half = torch.tensor([[0.25, 0.75]]).expand(2, 2)
    prepared = encoder.prepared(waves)
    hidden = encoder.hidden(prepared, half, none)
    width = prepared.shape[-1]
    middle = slice(round(0.25 * width) + 1, round(0.75 * width) - 1)
    assert float((hidden[..., middle] - hidden[..., middle].mean(dim=-1, keepdim=True)).abs().max()) < 1e-4
    torch.testing.assert_close(hidden[..., : middle.start - 2], prepared[..., : middle.start - 2], atol=1e-4, rtol=1e-4)
    assert least_cosine(encoder.with_hidden(waves, time=half, frequency=none), encoder(waves)) < 0.999999


def test_a_sound_tower_that_does_not_fit_is_said_before_training(tmp_path: Path) -> None:
    waves, clap = made_waves("wav2vec2", tmp_path / "waves"), made_clap(tmp_path / "clap")
    with pytest.raises(RunError, match=r"frontend.rate is 8000, but .* hears 16000 samples a second: set it to 16000"):
        sound_encoder(waves, rate=8_000)
    with pytest.raises(
        RunError, match=r"frontend.max_seconds is 12, but .* hears 10 s at a time: set it to 10 or less"
    ):
        sound_encoder(clap, rate=48_000, max_seconds=12.0)
    vision = made_vision("vit", tmp_path / "vit")
    (vision / "preprocessor_config.json").write_bytes((waves / "preprocessor_config.json").read_bytes())
    with pytest.raises(RunError, match="which is not one of those that hear samples: give wav2vec2"):
        sound_encoder(vision, rate=16_000)
    with pytest.raises(
        RunError, match=r"could not be loaded: .* Give a directory with config.json, model.safetensors and prep"
    ):
        sound_encoder(tmp_path / "none", rate=16_000)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["clip", "siglip", "clap"])
def test_texts_get_the_vectors_of_transformers(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = made_clap(tmp_path) if kind == "clap" else made_clip(tmp_path, kind)
    encoder = text_encoder(folder).eval()
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    filled = "max_length" if kind == "siglip" else True
    rows = tokenizer(TEXTS, padding=filled, max_length=12, truncation=True, return_tensors="pt")
    mask = None if kind == "siglip" else rows["attention_mask"]
    wanted = model.get_text_features(input_ids=rows["input_ids"], attention_mask=mask).pooler_output
    assert encoder.max_tokens == (18 if kind == "clap" else 12)
    assert (encoder.dim, encoder.vocab_size) == (wanted.shape[1], len(tokenizer))
    graph = ort.InferenceSession(export_graph(encoder, dim=encoder.dim, quantise="none"))
    for places in ([0, 1, 2, 3], [1, 2]):  # the longest of a batch says how far the others are filled up
        batch = tokenizer([TEXTS[place] for place in places], padding=True, return_tensors="pt")
        ids, there = batch["input_ids"], batch["attention_mask"]
        torch.testing.assert_close(encoder.embed_padded(ids, there), wanted[places], atol=1e-5, rtol=1e-4)
        (found,) = graph.run(["embedding"], {"ids": ids.numpy(), "mask": there.numpy()})
        assert least_cosine(found, wanted[places]) > 0.9999
    assert not [name for name, _ in encoder.named_parameters() if not name.startswith("model.text")]


def test_a_projection_comes_after_that_of_the_authors(tmp_path: Path) -> None:
    settings = HuggingFaceEncoder(kind="hf", model=str(made_clip(tmp_path)), projection=7)
    encoder = HuggingFaceTextEncoder(settings, pad_id=1)
    assert encoder.dim == 7
    assert encoder.training
    ids = torch.tensor([[2, 5, 3]])
    assert encoder.embed_padded(ids, torch.ones_like(ids)).shape == (1, 7)
