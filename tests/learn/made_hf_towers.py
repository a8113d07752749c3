"""Tiny models of `transformers` for pictures, sound and texts with random weights, saved as a user's own directory would be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn

SIZE = 32
"""Height and width of the pictures that they take."""
MEAN, STD = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]
WORDS = (
    "a",
    "photo",
    "sound",
    "of",
    "the",
    "red",
    "green",
    "blue",
    "circle",
    "square",
    "dog",
    "small",
    "large",
    "on",
    "ground",
)

_VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": SIZE,
    "patch_size": 8,
}
_TEXT: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 4 + len(WORDS),
    "bos_token_id": 2,
    "eos_token_id": 3,
    "pad_token_id": 1,
}
_WAVES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 3, 2),
    "conv_stride": (5, 2, 2),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "num_feat_extract_layers": 3,
}
_CLAP_AUDIO: dict[str, Any] = {
    "patch_embeds_hidden_size": 8,
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 2, 2, 4],
    "hidden_size": 64,
    "projection_dim": 20,
    "num_hidden_layers": 4,
    "window_size": 4,
}


def made_vision(kind: str, folder: Path) -> Path:
    """A model that sees pictures of `SIZE`: `clip`, `siglip`, `vit` or `dinov2`."""
    from transformers import AutoConfig

    if kind in ("clip", "siglip"):
        return made_clip(folder, kind)
    said = {
        "image_mean": MEAN,
        "image_std": STD,
        "rescale_factor": 1 / 255,
        "image_processor_type": "ViTImageProcessor",
    }
    return _saved(AutoConfig.for_model(kind, **_VISION), folder, said)


def made_clip(folder: Path, kind: str = "clip") -> Path:
    """A model of pictures and texts, with its tokenizer."""
    from transformers import AutoConfig

    shared = {"projection_dim": 20} if kind == "clip" else {}
    text = _TEXT | {"max_position_embeddings": 12} | shared | ({"projection_size": 32} if kind == "siglip" else {})
    config = AutoConfig.for_model(kind, text_config=text, vision_config=_VISION | shared, **shared)
    said = {"image_mean": MEAN, "image_std": STD, "do_normalize": True, "image_processor_type": "CLIPImageProcessor"}
    made_tokenizer(folder, longest=12)
    return _saved(config, folder, said)


def made_waves(kind: str, folder: Path, *, normalise: bool = True) -> Path:
    """A model that hears samples at 16 kHz: `wav2vec2`, `hubert` or `wavlm`."""
    from transformers import AutoConfig

    config = AutoConfig.for_model(kind, **_WAVES)
    said = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16_000, "do_normalize": normalise}
    return _saved(config, folder, said | {"feature_size": 1, "padding_value": 0.0})


def made_clap(folder: Path, *, fusion: bool = False) -> Path:
    """A model of sounds and texts, with its tokenizer and what makes its spectrograms."""
    from transformers import AutoConfig, ClapFeatureExtractor

    text = _TEXT | {"max_position_embeddings": 20, "projection_dim": 20}
    audio = _CLAP_AUDIO | {"enable_fusion": fusion, "fusion_type": "aff_2d" if fusion else None}
    config = AutoConfig.for_model("clap", text_config=text, audio_config=audio, projection_dim=20)
    ClapFeatureExtractor(truncation="fusion" if fusion else "rand_trunc").save_pretrained(folder)
    made_tokenizer(folder, longest=16)
    return _saved(config, folder, None)


def made_tokenizer(folder: Path, *, longest: int) -> None:
    """A tokenizer of `WORDS` with a start and an end, as CLIP and RoBERTa have them."""
    special = {"<unk>": 0, "<pad>": 1, "<s>": 2, "</s>": 3}
    vocabulary = special | {word: len(special) + place for place, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    tokenizer.enable_padding(pad_id=1, pad_token="<pad>")
    tokenizer.enable_truncation(longest)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": longest, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))


def _saved(config: Any, folder: Path, said: dict[str, Any] | None) -> Path:
    from transformers import AutoModel

    torch.manual_seed(0)
    model = AutoModel.from_config(config)
    stir(model)
    model.save_pretrained(folder)
    if said is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return folder


def stir(model: nn.Module) -> None:
    """Weights that look at their input: fresh ones hardly do."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
