"""Made people who speak, as a folder of WAV files, and recipes to learn from them."""

from __future__ import annotations

from pathlib import Path

from nearfar.recipe import Recipe
from nearfar.recipe.load import parse_recipe
from nearfar.simulate import simulate_voices, write_wav

RATE = 8_000

_RECIPE = """
name: made-voices
data:
  source: {{kind: audio, path: {folder}, labels: folder}}
  pairings: [{{kind: {pairing}}}]
  split: {{validation: 0.2, test: 0.25}}
frontend: {{kind: audio, rate: 8000, bands: 32}}
views: {{seconds: 0.5}}
encoder: {encoder}
method: {{kind: {method}}}
train: {{epochs: 1000, max_steps: 12, batch_size: 16, learning_rate: 0.003, decay: cosine, checkpoint_every: 3, threads: 1}}
evaluate: {{bootstrap: 50}}
"""


def write_voices(folder: Path, *, identities: int = 12, clips: int = 6, seed: int = 0) -> Path:
    """`folder/<identity>/<session>/<word>-<number>.wav`."""
    write_wav(simulate_voices(identities, clips, seed=seed, rate=RATE), folder, RATE)
    return folder


def voice_recipe(folder: Path, *overrides: str, identity: bool = True, mel_cnn: bool = False) -> Recipe:
    """A recipe for tiny encoders: of identities by SupCon, or of views by SimCLR."""
    text = _RECIPE.format(
        folder=folder,
        pairing="identity, samples: 4" if identity else "views",
        method="sup_con, temperature: 0.1" if identity else "simclr",
        encoder="{kind: mel_cnn, width: 8, dim: 24}" if mel_cnn else "{kind: ecapa, width: 32, dim: 32}",
    )
    return parse_recipe(text, name="made-voices.yaml", base=folder, overrides=overrides)
