"""The encoder on the device: right vectors for any text, and a clear refusal of graphs that do not fit or reach out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.edge.tiny_bundle import TEXTS, tiny_graph, tiny_manifest, write_tiny_bundle
from tests.edge.tiny_recommender_bundle import write_tiny_recommender_bundle

from nearfar.bundle import Bundle, BundleWriter, Tower
from nearfar.edge.encoder import Encoder
from nearfar.embedder import Embedder
from nearfar.errors import BundleError, DataError
from nearfar.frontend import TextFrontend


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def encoder(bundle) -> Encoder:
    return Encoder.open(bundle)


def write_with_graph(directory: Path, graph: bytes, *, tokenizer: bytes | None = None, dim: int = 32) -> Path:
    """A bundle whose digests are right and whose graph (or vocabulary) is whatever is given."""
    frontend = TextFrontend.train(TEXTS, vocab_size=512, max_query_tokens=64, max_document_tokens=64)
    with BundleWriter(directory) as writer:
        writer.add("encoder.onnx", graph)
        writer.add("tokenizer.json", tokenizer if tokenizer is not None else frontend.to_bytes())
        return writer.finish(tiny_manifest(frontend, dim=dim), "card").path


def vocab_size() -> int:
    return TextFrontend.train(TEXTS, vocab_size=512).vocab_size


def test_it_is_an_embedder_and_gives_what_the_graph_says(bundle, encoder):
    assert isinstance(encoder, Embedder)
    model = onnx.load_from_string(bundle.read("encoder.onnx"))
    table = next(numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == "table")
    rows = encoder.frontend.encode(TEXTS, "document")
    sums = np.stack([table[row].sum(axis=0) for row in rows])
    expected = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    embedded = encoder.embed(TEXTS)
    assert embedded.dtype == np.float32
    np.testing.assert_allclose(embedded, expected, atol=1e-5)


def test_a_shared_word_brings_a_query_to_its_document(encoder):
    scores = encoder.embed(["parse json"], "query") @ encoder.embed(TEXTS).T
    assert scores.argmax() == 2


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_order_and_batches_do_not_matter(encoder, batch_size):
    texts = [" ".join(TEXTS)[: 7 * n % 400] for n in range(50)]
    one_by_one = np.concatenate([encoder.embed([text]) for text in texts])
    np.testing.assert_allclose(encoder.embed(texts, batch_size=batch_size), one_by_one, atol=1e-5)


def test_more_texts_than_one_block(encoder):
    texts = [TEXTS[n % len(TEXTS)] for n in range(5_000)]
    np.testing.assert_allclose(
        encoder.embed(texts, batch_size=512), np.resize(encoder.embed(TEXTS), (5_000, 32)), atol=1e-5
    )


@pytest.mark.parametrize("text", ["", "\n", "\ud800", "x" * 100_000, "😀" * 50, "שלום עולם", "\x00", "[PAD] [CLS]"])
@pytest.mark.parametrize("side", ["query", "document"])
def test_any_text_has_a_unit_vector(encoder, text, side):
    assert np.linalg.norm(encoder.embed([text], side)) == pytest.approx(1, abs=1e-4)


def test_nothing_gives_an_empty_array(encoder):
    assert encoder.embed([]).shape == (0, 32)


def test_a_prefix_has_unit_length(bundle, encoder):
    half = Encoder.open(bundle, dim=16)
    assert half.dim == 16
    whole = encoder.embed(TEXTS)[:, :16]
    np.testing.assert_allclose(half.embed(TEXTS), whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-5)
    with pytest.raises(BundleError, match="dim 20 was asked for, but this bundle works with 16, 32"):
        Encoder.open(bundle, dim=20)


def test_each_tower_has_its_graph(tmp_path):
    frontend = TextFrontend.train(TEXTS, vocab_size=512)
    towers = {"query": Tower(graph="query.onnx"), "document": Tower(graph="document.onnx")}
    manifest = tiny_manifest(frontend, dim=32).model_copy(update={"towers": towers})
    with BundleWriter(tmp_path / "two") as writer:
        writer.add("query.onnx", tiny_graph(frontend.vocab_size, 32, seed=1).SerializeToString())
        writer.add("document.onnx", tiny_graph(frontend.vocab_size, 32, seed=2).SerializeToString())
        writer.add("tokenizer.json", frontend.to_bytes())
        encoder = Encoder.open(writer.finish(manifest, "card"))
    for side, seed in (("query", 1), ("document", 2)):
        alone = Encoder.open(write_tiny_bundle(tmp_path / side, seed=seed))
        np.testing.assert_allclose(encoder.embed(TEXTS, side), alone.embed(TEXTS, side), atol=1e-6)


def test_threads_share_one_encoder(encoder):
    expected = encoder.embed(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        for embedded in pool.map(lambda _: encoder.embed(TEXTS), range(40)):
            np.testing.assert_array_equal(embedded, expected)


def test_wrong_arguments_say_so(bundle, encoder):
    with pytest.raises(DataError, match=r"wrap it as \[text\]"):
        encoder.embed("one string")
    with pytest.raises(DataError, match="item 1 is NoneType"):
        encoder.embed(["a", None])
    with pytest.raises(DataError, match="batch_size is 0"):
        encoder.embed(["a"], batch_size=0)
    with pytest.raises(DataError, match="threads is 0"):
        Encoder.open(bundle, threads=0)


def test_a_graph_without_content_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"encoder\.onnx: is empty"):
        Encoder.open(write_with_graph(tmp_path / "b", b""))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_graph_is_refused(tmp_path, share):
    graph = tiny_graph(vocab_size(), 32).SerializeToString()
    with pytest.raises(BundleError, match=r"encoder\.onnx: not an ONNX graph"):
        Encoder.open(write_with_graph(tmp_path / "b", graph[: int(share * len(graph))]))


def test_a_graph_in_the_other_format_of_onnxruntime_is_not_read(tmp_path):
    with pytest.raises(BundleError, match="not an ONNX graph"):
        Encoder.open(write_with_graph(tmp_path / "b", b"\x10\x00\x00\x00ORTM" + bytes(100)))


def external(location: str) -> bytes:
    """A graph that takes its table from another file."""
    model = tiny_graph(vocab_size(), 32)
    table = next(tensor for tensor in model.graph.initializer if tensor.name == "table")
    size = len(table.raw_data)
    table.ClearField("raw_data")
    table.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(size))):
        entry = table.external_data.add()
        entry.key, entry.value = key, value
    return model.SerializeToString()


def overlong(graph: bytes) -> bytes:
    """The same graph with the length of "location" written in two bytes, which protobuf readers also accept.

    Every length around it grows by one, so the messages are rebuilt from the inside out.
    """
    entry_at = graph.index(b"\x0a\x08location")
    assert graph.count(b"\x0a\x08location") == 1

    def varint(content: bytes, at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            value |= (content[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if content[at - 1] < 128:
                return value, at

    def encode(value: int) -> bytes:
        out = b""
        while value > 127:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + bytes([value])

    def rebuild(content: bytes, offset: int) -> bytes:
        out, at = b"", 0
        while at < len(content):
            begin = at
            tag, at = varint(content, at)
            if tag & 7 == 2:
                length, at = varint(content, at)
                if offset + begin == entry_at:
                    out += encode(tag) + b"\x88\x00" + content[at : at + length]
                elif offset + at <= entry_at < offset + at + length:
                    inner = rebuild(content[at : at + length], offset + at)
                    out += encode(tag) + encode(len(inner)) + inner
                else:
                    out += content[begin : at + length]
                at += length
            else:
                _, at = varint(content, at)
                out += content[begin:at]
        return out

    return rebuild(graph, 0)


@pytest.mark.parametrize("disguise", [bytes, overlong], ids=["plain", "overlong"])
@pytest.mark.parametrize("location", ["../secret", "secret", "/proc/self/mem", "*/_ORT_MEM_ADDR_/*"])
def test_a_graph_that_takes_data_from_elsewhere_is_refused(tmp_path, monkeypatch, location, disguise):
    """The secret is there, of the right size, where the path leads: nothing but the check keeps it from being read."""
    monkeypatch.chdir(tmp_path)
    secret = np.zeros((vocab_size(), 32), np.float32).tobytes()
    (tmp_path / "secret").write_bytes(secret)
    graph = disguise(external(location))
    assert onnx.load_from_string(graph) == onnx.load_from_string(external(location))
    with pytest.raises(BundleError, match=r"encoder\.onnx: refers to data in other files"):
        Encoder.open(write_with_graph(tmp_path / "b", graph))


def edited(change) -> bytes:
    model = tiny_graph(vocab_size(), 32)
    change(model.graph)
    return model.SerializeToString()


def rename_input(graph) -> None:
    graph.input[0].name = "input_ids"
    graph.node[0].input[1] = "input_ids"


def rename_output(graph) -> None:
    graph.output[0].name = "vector"
    graph.node[-1].output[0] = "vector"


def third_input(graph) -> None:
    graph.input.append(helper.make_tensor_value_info("token_type_ids", TensorProto.INT64, ["n", "L"]))


def narrow_ids(graph) -> None:
    graph.input[0].type.tensor_type.elem_type = TensorProto.INT32


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (rename_input, "input_ids"),
        (rename_output, "outputs vector"),
        (third_input, "token_type_ids"),
        (narrow_ids, "int32"),
    ],
)
def test_a_graph_with_another_contract_is_refused(tmp_path, change, found):
    with pytest.raises(BundleError, match=rf"takes ids and mask.* but it has .*{found}"):
        Encoder.open(write_with_graph(tmp_path / "b", edited(change)))


def test_a_graph_of_another_dimension_is_refused(tmp_path):
    graph = tiny_graph(vocab_size(), 24).SerializeToString()
    with pytest.raises(BundleError, match=r"shape \(2, 24\) where the manifest promises \(2, 32\)"):
        Encoder.open(write_with_graph(tmp_path / "b", graph))


def test_a_table_smaller_than_the_vocabulary_is_refused(tmp_path):
    graph = tiny_graph(vocab_size() - 1, 32).SerializeToString()
    with pytest.raises(BundleError, match="the graph failed on a batch of 2 x 64 tokens"):
        Encoder.open(write_with_graph(tmp_path / "b", graph))


def test_a_graph_that_takes_only_short_texts_is_refused(tmp_path):
    """As a transformer does whose position table is shorter than the manifest's lengths."""

    def add_positions(graph) -> None:
        positions = np.zeros((50, 32), np.float32)
        graph.initializer.append(numpy_helper.from_array(positions, "positions"))
        shape = helper.make_node("Shape", ["ids"], ["length_of_ids"], start=1, end=2)
        places = helper.make_node(
            "ConstantOfShape", ["length_of_ids"], ["ones"], value=helper.make_tensor("v", 7, [1], [1])
        )
        count = helper.make_node("CumSum", ["ones", "zero_axis"], ["places"])
        graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), "zero_axis"))
        gather = helper.make_node("Gather", ["positions", "places"], ["place_rows"])
        add = helper.make_node("Add", ["masked", "place_rows"], ["placed"])
        graph.node[4].input[0] = "placed"
        for node in reversed((shape, places, count, gather, add)):
            graph.node.insert(4, node)

    with pytest.raises(BundleError, match="the graph failed on a batch of 2 x 64 tokens"):
        Encoder.open(write_with_graph(tmp_path / "b", edited(add_positions)))


def test_rows_that_are_not_of_unit_length_are_refused(tmp_path):
    def leave_raw(graph) -> None:
        del graph.node[-1]
        graph.node.append(helper.make_node("Identity", ["summed"], ["embedding"]))

    with pytest.raises(BundleError, match=r"gave rows of length .*unit rows"):
        Encoder.open(write_with_graph(tmp_path / "b", edited(leave_raw)))


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    def poison(graph) -> None:
        table = next(tensor for tensor in graph.initializer if tensor.name == "table")
        table.raw_data = np.full((vocab_size(), 32), np.nan, np.float32).tobytes()

    with pytest.raises(BundleError, match="not finite"):
        Encoder.open(write_with_graph(tmp_path / "b", edited(poison)))


@pytest.mark.parametrize("content", [b"", b"{}", b"{not json"])
def test_a_broken_vocabulary_is_refused(tmp_path, content):
    graph = tiny_graph(vocab_size(), 32).SerializeToString()
    with pytest.raises(BundleError, match=r"tokenizer\.json: not a tokenizer file"):
        Encoder.open(write_with_graph(tmp_path / "b", graph, tokenizer=content))


def test_a_recommender_embeds_no_items(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is a recommender, .* open it with Recommender\.open"):
        Encoder(write_tiny_recommender_bundle(tmp_path / "b"))
