"""A threshold from one's own people, in a new bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_identities import made_identity_pictures, write_identity_pictures
from PIL import Image
from tiny_bundle import write_tiny_bundle
from tiny_image_bundle import write_tiny_image_bundle

from nearfar.bundle import Bundle, BundleWriter, Metric
from nearfar.edge import Encoder
from nearfar.edge.verify.calibrate import calibrate_identity
from nearfar.edge.verify.samples import Sample, SampleColumns, SampleSource
from nearfar.edge.verify.threshold import TooFewTrialsError
from nearfar.errors import BundleError, DataError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return write_tiny_image_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_identity_pictures(tmp_path_factory.mktemp("people"), 14, 8)


def source(bundle: Bundle, path: Path, columns: SampleColumns | None = None) -> SampleSource:
    return SampleSource(bundle.manifest.frontend, path, columns)


def test_a_new_bundle_has_the_threshold_and_the_same_encoder(bundle, folder, tmp_path):
    made = calibrate_identity(bundle, source(bundle, folder).samples(), tmp_path / "new", fmr=0.01, of=4)
    record = Bundle.open(tmp_path / "new").manifest.verification
    assert record == made.record
    assert record.trials_of == "own"
    assert not record.seen
    assert (record.samples, record.identities, record.fmr) == (4, 14, 0.01)
    assert (record.genuine, record.impostor) == (14 * 4, 14 * 13 * 8)
    assert record.realised_fmr.high <= 0.01
    assert record.components == 16
    assert made.bundle.manifest.provenance.parent == bundle.digest
    pixels = np.random.default_rng(0).random((2, 8, 8, 3)).astype(np.float32)
    assert np.array_equal(Encoder.open(made.bundle).embed(list(pixels)), Encoder.open(bundle).embed(list(pixels)))
    assert "91 pairs" in made.threshold.warnings[0]


def test_the_same_samples_give_the_same_threshold_and_a_bundle_remembers_what_was_asked(bundle, folder, tmp_path):
    first = calibrate_identity(bundle, source(bundle, folder).samples(), tmp_path / "a", fmr=0.01, of=4)
    again = calibrate_identity(first.bundle, source(bundle, folder).samples(), tmp_path / "b")
    assert again.record.threshold == first.record.threshold
    assert (again.record.fmr, again.record.samples) == (0.01, 4)


def test_figures_of_the_encoder_stay_and_those_of_its_former_threshold_go(bundle, folder, tmp_path):
    first = calibrate_identity(bundle, source(bundle, folder).samples(), tmp_path / "a", fmr=0.01, of=4)
    metrics = {
        "bundle": {"eer": Metric(value=0.1), "fmr": Metric(value=0.01), "fnmr": Metric(value=0.2)},
        "attacks": {"threshold": Metric(value=0.5), "pgd_success": Metric(value=0.3)},
        "group north": {"fmr": Metric(value=0.02), "fnmr": Metric(value=0.2)},
    }
    manifest = first.bundle.manifest.model_copy(update={"metrics": metrics})
    with BundleWriter(tmp_path / "measured") as writer:
        writer.add("encoder.onnx", first.bundle.read("encoder.onnx"))
        measured = writer.finish(manifest, "card")
    same = calibrate_identity(measured, source(bundle, folder).samples(), tmp_path / "b", fmr=0.02)
    assert same.bundle.manifest.metrics == {"bundle": {"eer": metrics["bundle"]["eer"]}, "attacks": metrics["attacks"]}
    other = calibrate_identity(measured, source(bundle, folder).samples(), tmp_path / "c", fmr=0.02, of=3)
    assert other.bundle.manifest.metrics == {}


def test_samples_of_a_table_are_those_of_a_folder(bundle, tmp_path):
    rows = list(made_identity_pictures(14, 8))
    contents = []
    for _, _, _, pixels in rows:
        Image.fromarray(pixels).save(tmp_path / "one.png")
        contents.append((tmp_path / "one.png").read_bytes())
    table = {"face": contents, "who": [row[0] for row in rows], "day": [row[1] for row in rows]}
    pq.write_table(pa.table(table), tmp_path / "people.parquet")
    columns = SampleColumns(item="face", label="who", session="day")
    found = list(source(bundle, tmp_path / "people.parquet", columns).samples())
    lying = list(source(bundle, write_identity_pictures(tmp_path / "people", 14, 8)).samples())
    assert [(one.identity, one.session) for one in found] == [(one.identity, one.session) for one in lying]


def test_what_was_trained_on_is_left_out_and_counted(bundle, tmp_path):
    write_identity_pictures(tmp_path / "data" / "train", 5, 4)
    write_identity_pictures(tmp_path / "data" / "test", 14, 8)
    found = source(bundle, tmp_path / "data")
    assert len(list(found.samples())) == 14 * 8
    assert found.trained_on == 20


def test_a_target_out_of_reach_is_refused_and_nothing_is_written(bundle, folder, tmp_path):
    with pytest.raises(TooFewTrialsError, match="2,995"):
        calibrate_identity(bundle, source(bundle, folder).samples(), tmp_path / "new", fmr=0.001)
    assert not (tmp_path / "new").exists()


def test_bad_samples_are_left_out_as_a_vault_would(bundle, folder, tmp_path):
    bad = [Sample("person-000", np.full((24, 24, 3), 120, dtype=np.uint8), location=f"{n}.png") for n in range(3)]
    samples = [*source(bundle, folder).samples(), *bad, Sample("person-001", b"no picture", location="x.png")]
    made = calibrate_identity(bundle, samples, tmp_path / "new", fmr=0.01, of=4)
    assert made.refused.skipped == {"blank": 3, "cannot be read": 1}
    assert made.record.genuine == 14 * 4
    with pytest.raises(DataError, match="blank"):
        calibrate_identity(bundle, bad, tmp_path / "none", fmr=0.01)


def test_an_encoder_of_texts_and_the_bundle_itself_as_target_are_refused(bundle, folder, tmp_path):
    with pytest.raises(BundleError, match="stays as it is"):
        calibrate_identity(bundle, [], bundle.path / "new")
    texts = write_tiny_bundle(tmp_path / "texts")
    texts = texts if isinstance(texts, Bundle) else Bundle.open(tmp_path / "texts")
    with pytest.raises(BundleError, match="pictures or sound"):
        calibrate_identity(texts, [], tmp_path / "new")
    with pytest.raises(DataError, match="image-encoder or audio-encoder"):
        source(texts, folder)
