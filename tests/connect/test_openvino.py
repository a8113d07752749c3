"""A bundle converted to OpenVINO gives the vectors of the bundle, or is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import typer
from made_monitor import made_bundle, made_encoder_bundle, made_record, made_settings
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from tests.edge.tiny_recommender_bundle import write_tiny_recommender_bundle
from tiny_audio_bundle import tiny_audio_settings, write_tiny_audio_bundle
from tiny_bundle import TEXTS, tiny_graph, tiny_manifest, write_tiny_bundle
from tiny_image_bundle import tiny_image_graph, write_tiny_image_bundle
from tiny_reranker import write_tiny_reranker
from tokenizers import Tokenizer
from typer.testing import CliRunner

from nearfar.bundle import Bundle, BundleWriter, Tower
from nearfar.cli.convert import convert
from nearfar.edge import Encoder
from nearfar.errors import BundleError, MissingExtraError
from nearfar.frontend import ImageSettings, TextFrontend

pytest.importorskip("openvino", reason="the extra openvino is not installed")

from nearfar.connect.openvino import DESCRIPTION, convert_to_openvino
from nearfar.connect.openvino_graph import load_openvino

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(convert)


def _embed(folder: Path, feed: dict[str, np.ndarray], side: str = "query") -> np.ndarray:
    """What the documentation tells a user to do: nothing of nearfar but its files."""
    openvino = load_openvino()
    described = json.loads((folder / DESCRIPTION).read_text())
    model = openvino.Core().compile_model(
        folder / described["towers"][side], "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return model(feed)["embedding"]


def _with_graph(directory: Path, graph: bytes) -> Bundle:
    frontend = TextFrontend.train(TEXTS, vocab_size=512, max_query_tokens=32, max_document_tokens=64)
    with BundleWriter(directory) as writer:
        writer.add("encoder.onnx", graph)
        writer.add("tokenizer.json", frontend.to_bytes())
        return writer.finish(tiny_manifest(frontend, dim=32), "card")


def _vocab_size() -> int:
    return TextFrontend.train(TEXTS, vocab_size=512, max_query_tokens=32, max_document_tokens=64).vocab_size


def test_the_folder_alone_gives_the_vectors_of_the_bundle(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "b")
    made = convert_to_openvino(bundle, tmp_path / "ov")
    assert made.path == tmp_path / "ov"
    assert made.graphs[0].lowest > 0.99999
    assert made.graphs[0].sides == ("query", "document")
    tokenizer = Tokenizer.from_file(str(tmp_path / "ov" / "tokenizer.json"))
    expected = Encoder.open(bundle).embed(TEXTS, "query")
    for text, vector in zip(TEXTS, expected, strict=True):
        ids = np.array([tokenizer.encode(text).ids[:32]], dtype=np.int64)
        found = _embed(tmp_path / "ov", {"ids": ids, "mask": np.ones_like(ids)})
        np.testing.assert_allclose(found[0], vector, atol=1e-5)
    assert (tmp_path / "ov" / "manifest.json").read_bytes() == bundle.read("manifest.json")
    assert not list((tmp_path / "ov").glob("*.onnx"))
    assert made.size_bytes == sum(file.stat().st_size for file in (tmp_path / "ov").iterdir())


def test_two_towers_are_two_graphs(tmp_path: Path) -> None:
    frontend = TextFrontend.train(TEXTS, vocab_size=512, max_query_tokens=32, max_document_tokens=64)
    towers = {"query": Tower(graph="query.onnx"), "document": Tower(graph="document.onnx")}
    with BundleWriter(tmp_path / "b") as writer:
        for seed, tower in enumerate(towers.values()):
            writer.add(tower.graph, tiny_graph(frontend.vocab_size, 32, seed).SerializeToString())
        writer.add("tokenizer.json", frontend.to_bytes())
        bundle = writer.finish(tiny_manifest(frontend, dim=32).model_copy(update={"towers": towers}), "card")
    convert_to_openvino(bundle, tmp_path / "ov")
    for side in ("query", "document"):
        ids = np.array([[3, 7, 11]], dtype=np.int64)
        mask = np.ones_like(ids)
        session = onnxruntime.InferenceSession(bundle.read(f"{side}.onnx"), providers=["CPUExecutionProvider"])
        (expected,) = session.run(["embedding"], {"ids": ids, "mask": mask})
        np.testing.assert_allclose(_embed(tmp_path / "ov", {"ids": ids, "mask": mask}, side), expected, atol=1e-5)


def test_a_classifier_of_pictures_keeps_its_scores(tmp_path: Path) -> None:
    bundle = write_tiny_image_bundle(tmp_path / "b", classes=("red", "green", "blue"))
    assert convert_to_openvino(bundle, tmp_path / "ov").graphs[0].lowest > 0.99999
    model = load_openvino().Core().compile_model(tmp_path / "ov" / "encoder.xml", "CPU")
    green = np.zeros((1, 3, 8, 8), dtype=np.float32)
    green[:, 1] = 1
    assert model({"pixels": green})["scores"].argmax() == 1


@pytest.mark.parametrize("size", [2, 7, 33])
def test_pictures_of_any_size_have_a_sample(tmp_path: Path, size: int) -> None:
    bundle = write_tiny_image_bundle(tmp_path / "b", settings=ImageSettings(size=size, channels=1))
    assert convert_to_openvino(bundle, tmp_path / "ov").graphs[0].mean > 0.99999


@pytest.mark.parametrize("longest", [1, 8])
def test_recordings_have_a_sample(tmp_path: Path, longest: int) -> None:
    bundle = write_tiny_audio_bundle(tmp_path / "b", settings=tiny_audio_settings(longest=longest * 2000))
    assert convert_to_openvino(bundle, tmp_path / "ov").graphs[0].mean > 0.99999


def test_graphs_with_rounded_activations_are_read(tmp_path: Path) -> None:
    """The two forms of int8 that ship: scales at run time (texts), scales from calibration (pictures)."""
    settings = ImageSettings(size=8)
    onnx.save(tiny_image_graph(settings, 16), tmp_path / "float.onnx")

    class Noise(CalibrationDataReader):
        def __init__(self) -> None:
            source = np.random.default_rng(5)
            self.left = [source.random((8, 3, 8, 8), dtype=np.float32) for _ in range(4)]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return {"pixels": self.left.pop()} if self.left else None

    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "dynamic.onnx", weight_type=QuantType.QInt8)
    quantize_static(
        tmp_path / "float.onnx",
        tmp_path / "static.onnx",
        Noise(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["MatMul"],
        weight_type=QuantType.QInt8,
    )
    for kind in ("dynamic", "static"):
        content = (tmp_path / f"{kind}.onnx").read_bytes()
        assert b"QuantizeLinear" in content
        bundle = write_tiny_image_bundle(tmp_path / kind, settings=settings, graph=content)
        assert convert_to_openvino(bundle, tmp_path / f"{kind}-ov").graphs[0].mean > 0.99


def _noisy_graph(operation: str, **attributes: float) -> bytes:
    """The tiny graph, whose sum has something added that each runtime makes in its own way."""
    model = tiny_graph(_vocab_size(), 32)
    nodes = []
    for node in model.graph.node:
        if node.op_type == "ReduceL2":
            nodes += [
                helper.make_node(operation, ["summed"], ["noise"], **attributes),
                helper.make_node("Add", ["summed", "noise"], ["noisy"]),
            ]
        node.input[:] = ["noisy" if name == "summed" else name for name in node.input]
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def test_other_vectors_are_refused_and_what_was_there_stays(tmp_path: Path) -> None:
    made = convert_to_openvino(write_tiny_bundle(tmp_path / "b"), tmp_path / "ov")
    before = {file.name: file.read_bytes() for file in made.path.iterdir()}
    noisy = _with_graph(tmp_path / "noisy", _noisy_graph("RandomNormalLike"))
    with pytest.raises(BundleError, match=r"encoder\.onnx: OpenVINO .* gives other vectors than onnxruntime"):
        convert_to_openvino(noisy, made.path)
    assert {file.name: file.read_bytes() for file in made.path.iterdir()} == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["b", "noisy", "ov"]


def _with_int8_table(content: bytes) -> bytes:
    """The same graph with its table in int8, widened after the lookup."""
    model = onnx.load_from_string(content)
    (table,) = [tensor for tensor in model.graph.initializer if tensor.name == "table"]
    codes = (numpy_helper.to_array(table) * 30).clip(-127, 127).astype(np.int8)
    table.CopyFrom(numpy_helper.from_array(codes, "table"))
    (gather,) = [node for node in model.graph.node if node.op_type == "Gather"]
    gather.output[:] = ["codes"]
    model.graph.node.insert(1, helper.make_node("Cast", ["codes"], ["rows"], to=TensorProto.FLOAT))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def test_int8_may_differ_by_what_rounding_costs_and_float_may_not(tmp_path: Path) -> None:
    slight = _noisy_graph("RandomNormalLike", scale=0.04)  # beside values of about 1 in float, of about 30 in int8
    with pytest.raises(BundleError, match=r"where 0\.999 and 0\.999"):
        convert_to_openvino(_with_graph(tmp_path / "float", slight), tmp_path / "ov")
    stronger = _with_int8_table(_noisy_graph("RandomNormalLike", scale=1.2))
    graph = convert_to_openvino(_with_graph(tmp_path / "int8", stronger), tmp_path / "ov").graphs[0]
    assert 0.99 <= graph.mean < 0.9999
    assert graph.lowest < 0.999
    strong = _with_int8_table(_noisy_graph("RandomNormalLike", scale=12.0))
    with pytest.raises(BundleError, match=r"where 0\.99 and 0\.95"):
        convert_to_openvino(_with_graph(tmp_path / "noisy", strong), tmp_path / "ov")


def test_an_operation_that_openvino_lacks_is_one_line(tmp_path: Path) -> None:
    model = onnx.load_from_string(_noisy_graph("Bernoulli"))
    onnx.checker.check_model(model)
    bundle = _with_graph(tmp_path / "b", model.SerializeToString())
    with pytest.raises(BundleError, match="cannot read, write or run this graph") as caught:
        convert_to_openvino(bundle, tmp_path / "ov")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ov").exists()


def test_a_reranker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is a reranker"):
        convert_to_openvino(write_tiny_reranker(tmp_path / "b"), tmp_path / "ov")


def test_a_recommender_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is a recommender"):
        convert_to_openvino(write_tiny_recommender_bundle(tmp_path / "b"), tmp_path / "ov")


def test_a_monitor_is_converted_with_its_encoder_and_refused_without(tmp_path: Path) -> None:
    record = made_record(features="embedding", smooth=1)
    report = convert_to_openvino(made_encoder_bundle(tmp_path / "b", made_settings(), record), tmp_path / "ov")
    assert (tmp_path / "ov" / "encoder.xml").is_file()
    assert report is not None
    with pytest.raises(BundleError, match="without an encoder"):
        convert_to_openvino(made_bundle(tmp_path / "raw"), tmp_path / "other")


def test_only_a_conversion_gives_way_to_another(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "b")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "file").write_text("dear")
    for place in ("mine", "file", "b"):
        with pytest.raises(BundleError, match="another place"):
            convert_to_openvino(bundle, tmp_path / place)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"
    assert Bundle.open(tmp_path / "b").digest == bundle.digest
    (tmp_path / "empty").mkdir()
    convert_to_openvino(bundle, tmp_path / "empty")
    other = write_tiny_bundle(tmp_path / "other", seed=3)
    convert_to_openvino(other, tmp_path / "empty")
    assert json.loads((tmp_path / "empty" / DESCRIPTION).read_text())["made_of"] == other.digest


def test_a_place_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="cannot be written"):
        convert_to_openvino(write_tiny_bundle(tmp_path / "b"), tmp_path / "file" / "ov")


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"nearfar\[openvino\]"):
        convert_to_openvino(write_tiny_bundle(tmp_path / "b"), tmp_path / "ov")
    assert not (tmp_path / "ov").exists()


def test_a_graph_that_changed_after_opening_is_not_converted(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "b")
    graph = tmp_path / "b" / "encoder.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    with pytest.raises(BundleError, match="altered"):
        convert_to_openvino(bundle, tmp_path / "ov")


def test_nobody_is_told_that_openvino_was_imported(tmp_path: Path) -> None:
    """A package of that name lies in the way, and would leave a note if it were imported."""
    spy = tmp_path / "openvino_telemetry"
    spy.mkdir()
    (spy / "__init__.py").write_text("import pathlib; pathlib.Path(__file__).with_name('called').touch()\n")
    code = "from nearfar.connect.openvino_graph import load_openvino; print(load_openvino().get_version())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path), "HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("20")
    assert not (spy / "called").exists()
    assert not (tmp_path / "intel").exists()  # where it keeps the number by which it knows a user


def test_the_command_says_what_it_made(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "b")
    result = CliRunner().invoke(app, [str(tmp_path / "b"), "-o", str(tmp_path / "ov")])
    assert result.exit_code == 0, result.output
    assert "encoder.xml" in result.stdout
    assert f"openvino  {tmp_path / 'ov'}" in result.stdout
    again = CliRunner().invoke(app, [str(tmp_path / "b"), "-o", str(tmp_path / "ov"), "--to", "openvino", "--json"])
    said = json.loads(again.stdout)
    assert said["path"] == str(tmp_path / "ov")
    assert said["graphs"][0]["lowest"] > 0.9999
    refused = CliRunner().invoke(app, [str(tmp_path / "b"), "-o", str(tmp_path / "b")])
    assert isinstance(refused.exception, BundleError)


def test_made_graphs_are_valid() -> None:
    """The refusals above are of runtimes, not of broken graphs."""
    for operation in ("RandomNormalLike", "Bernoulli"):
        model = onnx.load_from_string(_noisy_graph(operation))
        onnx.checker.check_model(model, full_check=True)
        assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
