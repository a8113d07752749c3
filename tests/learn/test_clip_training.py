"""Learning from sound: what is learned, that a run goes on where it was, and what ships."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from interruption import interrupt_at
from made_voices import voice_recipe, write_voices
from onnx import numpy_helper

from nearfar.embedder import Embedder
from nearfar.errors import DataError, InterruptedRunError, RunError
from nearfar.evaluate.spectrum import SpectrumEmbedder
from nearfar.learn.clips import TrainedClips
from nearfar.learn.data.split import TEST
from nearfar.learn.export.audio import choose_audio_graph, export_audio_graph
from nearfar.learn.run import open_run, train_run
from nearfar.learn.trainer.clips import embed_waves, pairwise_eer
from nearfar.progress import silent
from nearfar.recipe import Recipe
from nearfar.road.export_audio import audio_draft


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voices(tmp_path_factory.mktemp("voices") / "in")


def trained(recipe: Recipe, directory: Path, *, resume: bool = False) -> TrainedClips:
    run = train_run(recipe, directory, resume=resume)
    assert isinstance(run, TrainedClips)
    return run


def state_of(directory: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)[
        "state_dict"
    ]
    return state


@pytest.mark.parametrize("identity", [True, False], ids=["identity", "views"])
@pytest.mark.parametrize("step", [0, 7])
def test_an_interrupted_run_is_bit_identical_after_resume(
    voices: Path, identity: bool, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = voice_recipe(voices, identity=identity, mel_cnn=not identity)
    trained(recipe, tmp_path / "whole")
    interrupt_at(step, monkeypatch, signal.SIGTERM)
    with pytest.raises(InterruptedRunError, match=f"stopped after step {step + 1}; .* of 12"):
        train_run(recipe, tmp_path / "broken")
    monkeypatch.undo()
    trained(recipe, tmp_path / "broken", resume=True)
    whole, broken = state_of(tmp_path / "whole"), state_of(tmp_path / "broken")
    assert whole.keys() == broken.keys()
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


@pytest.mark.recipe
@pytest.mark.parametrize("wait", ["data/clips.json", "checkpoints/last.ckpt"])
def test_a_killed_run_is_bit_identical_after_resume(voices: Path, wait: str, tmp_path: Path) -> None:
    recipe = voice_recipe(voices, "train.max_steps=60")
    trained(recipe, tmp_path / "whole")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from made_voices import voice_recipe\n"
        "from nearfar.learn.run import train_run\n"
        "train_run(voice_recipe(Path(sys.argv[2]), 'train.max_steps=60'), Path(sys.argv[3]))\n"
    )
    broken = tmp_path / "broken"
    process = subprocess.Popen([sys.executable, "-c", code, str(Path(__file__).parent), str(voices), str(broken)])
    while process.poll() is None and not (broken / wait).exists():
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed: make it longer"
    trained(recipe, broken, resume=True)
    whole, resumed = state_of(tmp_path / "whole"), state_of(broken)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(
    "method", ["{kind: arc_face}", "{kind: triplet}", "{kind: byol, predictor: 16, projector: [16]}"]
)
def test_methods_over_views_take_sound(voices: Path, method: str, tmp_path: Path) -> None:
    identity = "byol" not in method
    run = trained(
        voice_recipe(voices, f"method={method}", "train.max_steps=2", identity=identity, mel_cnn=True), tmp_path / "run"
    )
    assert isinstance(open_run(tmp_path / "run"), TrainedClips)
    assert run.embedder().embed([np.zeros(4_000, np.float32)]).shape == (1, 24)


def test_early_stopping_watches_how_strangers_find_each_other(voices: Path, tmp_path: Path) -> None:
    run = trained(
        voice_recipe(voices, "train.validate_every=6", "train.early_stop={metric: knn_accuracy}"), tmp_path / "run"
    )
    log = (run.directory / "logs" / "attempt-1" / "metrics.csv").read_text("utf-8").splitlines()
    column = log[0].split(",").index("validation/knn_accuracy")
    figures = [float(line.split(",")[column]) for line in log[1:] if line.split(",")[column]]
    assert len(figures) == 2
    assert max(figures) > 0


@pytest.mark.parametrize("mel_cnn", [False, True], ids=["ecapa", "mel_cnn"])
@pytest.mark.parametrize("split_up", ["train.chunk=8", "train.devices=2"])
def test_parts_of_a_batch_are_refused_in_the_words_of_recordings(
    voices: Path, split_up: str, mel_cnn: bool, tmp_path: Path
) -> None:
    key, value = split_up.split("=")
    said = rf"^{key} is {value}, .*\(BatchNorm[12]d\).* encoders of recordings have such layers: leave {key} out"
    with pytest.raises(RunError, match=said) as found:
        train_run(voice_recipe(voices, split_up, mel_cnn=mel_cnn), tmp_path / "run")
    assert "picture" not in str(found.value)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_early_stopping_needs_labels_on_both_sides(voices: Path, tmp_path: Path) -> None:
    recipe = voice_recipe(voices, "train.early_stop={metric: knn_accuracy}", "data.source.labels=none", identity=False)
    with pytest.raises(DataError, match="same labels on both sides"):
        train_run(recipe, tmp_path / "run")


def test_the_graph_is_the_model(voices: Path, tmp_path: Path) -> None:
    run = trained(voice_recipe(voices), tmp_path / "run")
    encoder = run.method().eval().encoder
    waves = (np.random.default_rng(0).standard_normal((3, 6_000)) * 0.1).astype(np.float32)
    content = export_audio_graph(encoder, dim=None, quantise="none")
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    for part in (waves, waves[:1], waves[:, :2_000]):
        np.testing.assert_allclose(session.run(None, {"pcm": part})[0], embed_waves(encoder, list(part)), atol=1e-5)
    short = export_audio_graph(encoder, dim=8, quantise="none")
    vectors = ort.InferenceSession(short, providers=["CPUExecutionProvider"]).run(None, {"pcm": waves})[0]
    np.testing.assert_allclose(vectors, embed_waves(encoder, list(waves), 8), atol=1e-5)


def test_the_fourier_transform_is_not_stored(voices: Path, tmp_path: Path) -> None:
    run = trained(voice_recipe(voices), tmp_path / "run")
    model = onnx.load_from_string(export_audio_graph(run.method().encoder, dim=None, quantise="none"))
    frame = run.frontend.settings.frame
    largest = max((numpy_helper.to_array(t) for t in model.graph.initializer if "basis" in t.name), key=np.size)
    assert largest.size <= frame
    onnx.checker.check_model(model)


@pytest.mark.parametrize("mel_cnn", [False, True], ids=["ecapa", "mel_cnn"])
def test_what_ships_in_int8_agrees_with_the_model(voices: Path, mel_cnn: bool, tmp_path: Path) -> None:
    from nearfar.edge import Encoder

    run = trained(voice_recipe(voices, "train.max_steps=30", mel_cnn=mel_cnn), tmp_path / "run")
    draft = audio_draft(run, dim=None, quantise="int8", stages=silent)
    encoder = Encoder.open(draft.written(tmp_path / "bundle"))
    items = [voices / run.corpus.ids[int(number)] for number in run.corpus.numbers_of(TEST)]
    cosines = (encoder.embed(items) * run.embedder().embed(items)).sum(axis=1)
    assert cosines.mean() > 0.98
    alone = np.concatenate([encoder.embed([item]) for item in items])
    np.testing.assert_allclose(alone, encoder.embed(items), atol=2e-2)


def test_int8_that_changes_directions_does_not_ship(voices: Path, tmp_path: Path) -> None:
    run = trained(voice_recipe(voices, mel_cnn=True), tmp_path / "run")
    encoder = run.method().eval().encoder
    waves = [(np.random.default_rng(0).standard_normal((8, 4_000)) * 0.1).astype(np.float32)]
    kept = choose_audio_graph(encoder, dim=None, quantise="int8", calibration=waves)
    refused = choose_audio_graph(encoder, dim=None, quantise="int8", calibration=waves, least=1.01)
    assert (kept.weights, refused.weights) == ("int8", "float32")
    assert 0.98 <= kept.cosine == refused.cosine < 1.0
    assert len(kept.content) < len(refused.content)


def test_compression_is_refused_with_the_mend(voices: Path, tmp_path: Path) -> None:
    from nearfar.recipe.compress import Compress
    from nearfar.road import Run

    trained(voice_recipe(voices, "train.max_steps=2"), tmp_path / "run")
    with pytest.raises(RunError, match=r"compress is not for recordings.*export\.quantise"):
        Run.open(tmp_path / "run").export(compress=Compress.model_validate({"steps": []}))
    with pytest.raises(RunError, match="dim is 33, but the encoder gives only 32"):
        Run.open(tmp_path / "run").export(dim=33)


@pytest.mark.recipe
def test_strangers_are_told_apart(tmp_path: Path) -> None:
    """Equal error rate of pairs of recordings by people who were never heard in training, 5 points below what needs no training."""
    folder = write_voices(tmp_path / "in", identities=40, clips=8)
    light = ("views.noise.snr=[20, 40]", "views.reverb=null", "views.band=null", "views.speed=[0.99, 1.01]")
    settings = (
        "train={max_steps: 160, batch_size: 32, learning_rate: 0.004}",
        "views.seconds=0.4",
        "frontend.centre=none",
    )
    run = trained(voice_recipe(folder, *settings, *light), tmp_path / "run")
    test = run.corpus.numbers_of(TEST)
    items, labels = [folder / run.corpus.ids[int(number)] for number in test], run.corpus.labels[test]
    embedders: dict[str, Embedder] = {
        "spectrum": SpectrumEmbedder(run.frontend),
        "untrained": run.untrained(),
        "model": run.embedder(),
    }
    found = {name: pairwise_eer(embedder.embed(items), labels) for name, embedder in embedders.items()}
    assert found["model"] < min(found["spectrum"], found["untrained"]) - 0.05, found
