"""Image bundles on the device: pictures in any form to the right vectors, classes, and clear refusals."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image
from pydantic import ValidationError
from tests.edge.tiny_bundle import write_tiny_bundle
from tests.edge.tiny_image_bundle import tiny_image_graph, tiny_image_manifest, write_tiny_image_bundle

from nearfar.bundle import Bundle, Manifest, Tower
from nearfar.bundle.manifest import read_manifest
from nearfar.edge.encoder import Encoder
from nearfar.embedder import Embedder
from nearfar.errors import BundleError, DataError
from nearfar.frontend import ImageSettings

CLASSES = ("red", "green", "blue")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return write_tiny_image_bundle(tmp_path_factory.mktemp("bundle") / "tiny", classes=CLASSES)


@pytest.fixture(scope="module")
def encoder(bundle) -> Encoder:
    return Encoder.open(bundle)


def pictures(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def test_it_is_an_embedder_and_gives_what_the_graph_says(bundle, encoder):
    assert isinstance(encoder, Embedder)
    model = onnx.load_from_string(bundle.read("encoder.onnx"))
    table = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    arrays = pictures(5, 8, 8, 3)
    flat = (arrays / 255).transpose(0, 3, 1, 2).reshape(5, -1)
    expected = flat @ table["directions"] + table["bias"]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    embedded = encoder.embed(list(arrays))
    assert embedded.dtype == np.float32
    np.testing.assert_allclose(embedded, expected, atol=1e-5)
    np.testing.assert_array_equal(encoder.embed(arrays), embedded)  # (n, h, w, c) is a list of pictures too


def test_a_path_bytes_and_an_array_of_one_picture_are_the_same(encoder, tmp_path):
    (array,) = pictures(1, 20, 30, 3)
    (tmp_path / "a.png").write_bytes(png(array))
    embedded = encoder.embed([tmp_path / "a.png", str(tmp_path / "a.png"), png(array), array], "query")
    np.testing.assert_array_equal(embedded, np.repeat(embedded[:1], 4, axis=0))


def test_both_sides_are_one(encoder):
    arrays = pictures(3, 8, 8, 3)
    np.testing.assert_array_equal(encoder.embed(arrays, "query"), encoder.embed(arrays, "document"))


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_order_and_batches_do_not_matter(encoder, batch_size):
    arrays = pictures(50, 8, 8, 3)
    one_by_one = np.concatenate([encoder.embed([array]) for array in arrays])
    np.testing.assert_allclose(encoder.embed(arrays, batch_size=batch_size), one_by_one, atol=1e-5)


def test_nothing_gives_an_empty_array(encoder):
    assert encoder.embed([]).shape == (0, 16)
    assert encoder.classify([]).shape == (0, 3)


def test_a_prefix_has_unit_length(bundle, encoder):
    half = Encoder.open(bundle, dim=8).embed(pictures(4, 8, 8, 3))
    whole = encoder.embed(pictures(4, 8, 8, 3))[:, :8]
    np.testing.assert_allclose(half, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-5)


def test_threads_share_one_encoder(encoder):
    items = [png(array) for array in pictures(6, 12, 9, 3)]
    expected = encoder.embed(items)
    with ThreadPoolExecutor(4) as pool:
        for embedded in pool.map(lambda _: encoder.embed(items), range(40)):
            np.testing.assert_array_equal(embedded, expected)


def test_classes_have_probabilities(encoder):
    assert encoder.classes == CLASSES
    colours = np.zeros((3, 8, 8, 3), np.uint8)
    for number in range(3):
        colours[number, :, :, number] = 255
    likely = encoder.classify(colours, batch_size=2)
    assert likely.dtype == np.float32
    np.testing.assert_allclose(likely.sum(axis=1), 1, atol=1e-6)
    assert likely.argmax(axis=1).tolist() == [0, 1, 2]
    assert likely[0, 0] == pytest.approx(np.exp(10) / (np.exp(10) + 2), rel=1e-5)


def test_without_a_classifier_it_says_so(tmp_path):
    plain = Encoder.open(write_tiny_image_bundle(tmp_path / "images"))
    text = Encoder.open(write_tiny_bundle(tmp_path / "text"))
    for encoder, items in ((plain, pictures(1, 8, 8, 3)), (text, ["a"])):
        assert encoder.classes == ()
        with pytest.raises(BundleError, match="this bundle has no classifier, only embeddings"):
            encoder.classify(items)


def test_wrong_arguments_say_so(encoder, tmp_path):
    for single in ("a.png", tmp_path, b"png", pictures(1, 8, 8, 3)[0]):
        with pytest.raises(DataError, match=r"wrap it as \[picture\]"):
            encoder.embed(single)
    with pytest.raises(DataError, match="batch_size is 0"):
        encoder.embed(pictures(1, 8, 8, 3), batch_size=0)
    with pytest.raises(DataError, match=r"item 1: no picture of a kind that is read"):
        encoder.embed([pictures(1, 8, 8, 3)[0], b"not a picture"])
    with pytest.raises(DataError, match=r"nowhere\.png: cannot be read \(No such file"):
        encoder.embed([tmp_path / "nowhere.png"])
    with pytest.raises(DataError, match="a picture is int: pass a path"):
        encoder.embed([7])


def test_large_inputs_go_through_in_small_batches(tmp_path):
    """A batch of 64 would take 805 MB; no feed holds more than 64 MB."""
    settings = ImageSettings(size=1024)
    encoder = Encoder.open(write_tiny_image_bundle(tmp_path / "large", settings=settings, dim=2))
    items = list(pictures(9, 4, 4, 3))
    sizes = [feed["pixels"].nbytes for _, feed in encoder.frontend.feeds(items, "document", 64)]
    assert len(sizes) > 1
    assert max(sizes) <= 64 * 2**20
    assert encoder.embed(items).shape == (9, 2)


def refused(directory: Path, model: onnx.ModelProto, message: str, **options) -> None:
    bundle = write_tiny_image_bundle(directory / "b", graph=model.SerializeToString(), **options)
    with pytest.raises(BundleError, match=message):
        Encoder.open(bundle)


def test_a_graph_with_another_contract_is_refused(tmp_path):
    model = tiny_image_graph(ImageSettings(size=8), 16, name="images")
    refused(tmp_path, model, r"takes pixels, float32 \(n, 3, 8, 8\), and gives embedding.* but it has inputs images")


def test_a_text_graph_in_an_image_bundle_is_refused(tmp_path):
    text = write_tiny_bundle(tmp_path / "text", dim=16)
    model = onnx.load_from_string(text.read("encoder.onnx"))
    refused(tmp_path, model, r"takes pixels, .* but it has inputs ids: tensor\(int64\)")


def test_a_graph_of_another_size_is_refused(tmp_path):
    model = tiny_image_graph(ImageSettings(size=9), 16)
    refused(tmp_path, model, "the graph failed on a batch of 2 x 3 x 8 x 8 pixel values")


def test_a_graph_for_one_picture_at_a_time_is_refused(tmp_path):
    model = tiny_image_graph(ImageSettings(size=8), 16)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    refused(tmp_path, model, "the graph failed on a batch of 2 x 3 x 8 x 8")


def test_a_graph_of_another_dimension_is_refused(tmp_path):
    refused(tmp_path, tiny_image_graph(ImageSettings(size=8), 12), r"shape \(2, 12\) where the manifest promises")


def test_rows_that_are_not_of_unit_length_are_refused(tmp_path):
    model = tiny_image_graph(ImageSettings(size=8), 16)
    model.graph.node.pop()
    model.graph.node.append(helper.make_node("Identity", ["moved"], ["embedding"]))
    refused(tmp_path, model, "gave rows of length .*unit rows")


def test_promised_classes_must_be_in_the_graph(tmp_path):
    settings = ImageSettings(size=8)
    refused(tmp_path / "none", tiny_image_graph(settings, 16), r"and scores, float32 \(n, classes\)", classes=CLASSES)
    fewer = tiny_image_graph(settings, 16, classes=2)
    refused(tmp_path / "fewer", fewer, r"gave scores of shape \(2, 2\) where .* \(2, 3\)", classes=CLASSES)


def test_scores_without_names_are_no_classifier(tmp_path):
    graph = tiny_image_graph(ImageSettings(size=8), 16, classes=3).SerializeToString()
    assert Encoder.open(write_tiny_image_bundle(tmp_path / "b", graph=graph)).classes == ()


def test_opening_loads_neither_pillow_nor_tokenizers_nor_torch(bundle):
    code = (
        "import sys; from nearfar.edge.encoder import Encoder; Encoder.open(sys.argv[1]);"
        "print(sorted({'PIL', 'tokenizers', 'torch', 'tifffile'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", code, bundle.path], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# --- the manifest ------------------------------------------------------------------------------------------------------


def test_the_manifest_comes_back_as_it_was():
    manifest = tiny_image_manifest(ImageSettings(size=28, channels=1, fit="squash"), dim=16, classes=CLASSES)
    assert read_manifest(manifest.to_bytes(), "manifest.json") == manifest
    assert manifest.file_names == {"encoder.onnx"}


def test_a_text_manifest_without_kinds_still_reads(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "text")
    old = json.loads(bundle.manifest.to_bytes())
    del old["kind"], old["classes"], old["frontend"]["kind"]
    assert read_manifest(json.dumps(old).encode(), "manifest.json") == bundle.manifest
    assert bundle.manifest.file_names == {"encoder.onnx", "tokenizer.json"}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"kind": "text-dual-encoder"}, "with a frontend of kind image it must be image-encoder"),
        ({"kind": "audio-encoder"}, "kind"),
        ({"frontend": {"kind": "smell"}}, r"frontend: .*'smell'"),
        ({"frontend": {"kind": "image"}}, r"frontend\.size"),
        ({"frontend": {"kind": "image", "size": 0}}, r"frontend\.size"),
        ({"frontend": {"kind": "image", "size": 8192, "channels": 1024}}, "values a picture: at most"),
        ({"frontend": {"kind": "image", "size": 8, "fit": "stretch"}}, r"frontend\.fit"),
        ({"classes": ["cat", "cat"]}, "classes must differ"),
        ({"classes": [""]}, r"classes\.0"),
        ({"towers": {"query": {"graph": "a.onnx"}, "document": {"graph": "b.onnx"}}}, "the same graph"),
    ],
)
def test_a_manifest_of_the_wrong_shape_names_the_key(changes, names):
    content = json.loads(tiny_image_manifest(ImageSettings(size=8), dim=16).to_bytes()) | changes
    with pytest.raises(BundleError, match=names):
        read_manifest(json.dumps(content).encode(), "manifest.json")


def test_the_kind_of_a_new_bundle_must_be_said():
    whole = tiny_image_manifest(ImageSettings(size=8), dim=16)
    arguments = {name: getattr(whole, name) for name in Manifest.model_fields if name != "kind"}
    with pytest.raises(ValidationError, match="it must be image-encoder"):
        Manifest(**arguments)
    assert arguments["towers"]["query"] == Tower(graph="encoder.onnx")
