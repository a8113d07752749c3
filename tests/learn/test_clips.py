"""Recordings on disk: what is stored of them, what is held out, and what shares a batch."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from made_voices import RATE, voice_recipe, write_voices

from nearfar.errors import DataError
from nearfar.frontend.sound import decode_sound
from nearfar.learn.clips import PreparedClips, audio_settings, build_method, frontend_of
from nearfar.learn.data.batches import Share
from nearfar.learn.data.clip_rows import ClipRows
from nearfar.learn.data.clips import ClipCorpus, prepare_clips
from nearfar.learn.data.identity_batches import trained_identities
from nearfar.learn.data.split import DROPPED, TEST, TRAIN, VALIDATION
from nearfar.learn.views.audio import SoundViews
from nearfar.recipe import Recipe
from nearfar.recipe.audio import AudioFrontendSettings


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voices(tmp_path_factory.mktemp("voices") / "in")


def prepared(recipe: Recipe, folder: Path) -> ClipCorpus:
    identity = recipe.identity is not None
    return prepare_clips(recipe.data, frontend_of(recipe), folder, recipe.seed, identity=identity)


def rows_of(corpus: ClipCorpus, recipe: Recipe, views: int = 2) -> ClipRows:
    made = SoundViews(recipe.of_audio.views, rate=RATE, count=views)
    return ClipRows.of(corpus, made, seed=recipe.seed, identity=recipe.identity)


def test_samples_are_stored_trimmed_and_in_full(voices: Path, tmp_path: Path) -> None:
    recipe = voice_recipe(voices)
    corpus = prepared(recipe, tmp_path / "out")
    frontend = frontend_of(recipe)
    assert corpus.counts.clips == len(corpus.ids) == 12 * 6
    for number in (0, 17, 71):
        samples = decode_sound(voices / corpus.ids[number], RATE)
        np.testing.assert_allclose(corpus.waves(number), samples[frontend.spoken(samples)], atol=1 / 32768)
    assert corpus.counts.seconds == pytest.approx(len(corpus.samples) / RATE, abs=0.06)


def test_folders_say_who_and_when(voices: Path, tmp_path: Path) -> None:
    corpus = prepared(voice_recipe(voices), tmp_path / "out")
    for number, label, session in zip(range(72), corpus.labels, corpus.sessions, strict=True):
        who, when, _ = corpus.ids[number].split("/")
        assert (corpus.counts.classes[label], corpus.counts.sessions[session]) == (who, when)
    assert (corpus.attributes == -1).all()


def test_people_are_held_out_whole(voices: Path, tmp_path: Path) -> None:
    corpus = prepared(voice_recipe(voices), tmp_path / "out")
    sides = [set(corpus.labels[corpus.numbers_of(side)].tolist()) for side in (TRAIN, VALIDATION, TEST)]
    assert [len(side) for side in sides] == pytest.approx([7, 2, 3], abs=1)
    assert sum(map(len, sides)) == 12


def test_bands_are_measured_over_training_recordings(voices: Path, tmp_path: Path) -> None:
    corpus = prepared(voice_recipe(voices, "frontend.centre=none"), tmp_path / "out")
    assert len(corpus.counts.mean) == len(corpus.counts.std) == 32
    assert min(corpus.counts.std) > 0.5
    centred = prepared(voice_recipe(voices), tmp_path / "centred")
    np.testing.assert_allclose(centred.counts.mean, 0, atol=1e-5)


def test_an_unreadable_recording_is_counted_and_named(voices: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    shutil.copytree(voices, folder)
    victim = next(folder.rglob("*.wav"))
    victim.write_bytes(b"RIFF, but no sound")
    corpus = prepared(voice_recipe(folder), tmp_path / "out")
    assert corpus.counts.clips == 71
    assert sum(corpus.counts.skipped.values()) == 1
    assert victim.name in corpus.counts.examples[0]
    with pytest.raises(DataError, match=f"1 items .*{victim.name}"):
        prepared(voice_recipe(folder, "data.bad_rows=refuse"), tmp_path / "refused")


def test_a_held_out_recording_is_not_trained_on_under_another_name(voices: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    shutil.copytree(voices, folder)
    corpus = prepared(voice_recipe(folder, identity=False), tmp_path / "first")
    name = corpus.ids[int(corpus.numbers_of(TEST)[0])]
    shutil.copy(folder / name, (folder / name).with_name("again.wav"))
    again = prepared(voice_recipe(folder, identity=False), tmp_path / "second")
    place = {again.ids[number]: number for number in range(len(again.labels))}
    copies = [place[name], place[str(Path(name).with_name("again.wav"))]]
    assert set(again.side[copies].tolist()) <= {TEST, DROPPED}


def test_a_batch_holds_samples_of_people_and_is_the_same_on_any_ranks(voices: Path, tmp_path: Path) -> None:
    recipe = voice_recipe(voices)
    corpus = prepared(recipe, tmp_path / "out")
    rows = rows_of(corpus, recipe, views=1)
    whole = rows[Share(5, np.arange(16))]
    _, counts = np.unique(whole.labels.numpy(), return_counts=True)
    assert counts.tolist() == [4, 4, 4, 4]
    assert set(corpus.side[whole.items.numpy()].tolist()) == {TRAIN}
    assert whole.parts.shape == (16, 1, rows.views.reach)
    halves = [rows[Share(5, np.arange(16), rank, 2)] for rank in (0, 1)]
    for rank, half in enumerate(halves):
        assert (half.items == whole.items[rank::2]).all()
        assert (half.parts == whole.parts[rank::2]).all()
        assert (half.draws.snr == whole.draws.snr[rank::2]).all()
    assert not (rows[Share(6, np.arange(16))].items == whole.items).all()


def test_those_who_are_trained_on_are_numbered_without_gaps(voices: Path, tmp_path: Path) -> None:
    recipe = voice_recipe(voices)
    corpus = prepared(recipe, tmp_path / "out")
    rows, known = rows_of(corpus, recipe, views=1), trained_identities(corpus)
    assert len(known) < len(corpus.counts.classes)
    assert len(build_method(voice_recipe(voices, "method={kind: arc_face}"), corpus).directions) == len(known)
    seen = set()
    for step in range(8):
        batch = rows[Share(step, np.arange(16))]
        assert known[batch.labels.numpy()].tolist() == corpus.labels[batch.items.numpy()].tolist()
        seen |= set(batch.labels.tolist())
    assert seen == set(range(len(known)))


def test_views_are_of_the_rows_of_the_share(voices: Path, tmp_path: Path) -> None:
    recipe = voice_recipe(voices, identity=False)
    corpus = prepared(recipe, tmp_path / "out")
    rows = rows_of(corpus, recipe)
    batch = rows[Share(0, np.array([3, 1, 4]))]
    assert batch.items.tolist() == corpus.numbers_of(TRAIN)[[3, 1, 4]].tolist()
    assert not (batch.parts[:, 0] == batch.parts[:, 1]).all()
    again = rows[Share(0, np.array([3, 1, 4]))]
    assert (batch.parts == again.parts).all()


def test_too_little_is_told_with_the_numbers(voices: Path, tmp_path: Path) -> None:
    recipe = voice_recipe(voices)
    corpus = prepared(recipe, tmp_path / "out")
    corpus.side[corpus.labels != corpus.labels[corpus.numbers_of(TRAIN)[0]]] = TEST
    with pytest.raises(DataError, match=r"are of 1 identity .*12 in all.* at least 2"):
        rows_of(corpus, recipe)
    corpus.side[:] = TEST
    with pytest.raises(DataError, match="only 0 training recordings"):
        rows_of(corpus, recipe)


def test_seconds_become_whole_steps_of_samples() -> None:
    settings = audio_settings(AudioFrontendSettings(kind="audio", rate=11_025, min_seconds=0.3, max_seconds=1.0))
    assert settings.step == 3_308
    assert settings.longest == 3 * 3_308
    assert (settings.frame, settings.hop) == (276, 110)
    assert settings.highest == pytest.approx(0.475 * 11_025)


def test_a_folder_without_noise_is_told(voices: Path, tmp_path: Path) -> None:
    recipe = voice_recipe(voices, "views.noise={folder: " + str(tmp_path) + "}")
    corpus = prepared(recipe, tmp_path / "out")
    with pytest.raises(DataError, match=r"views\.noise\.folder .* no recording of noise"):
        PreparedClips(corpus).views(recipe)
    with_noise = voice_recipe(voices, "views.noise={folder: " + str(voices) + "}")
    assert PreparedClips(corpus).views(with_noise).settings.noise is not None
