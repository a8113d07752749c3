"""A real bundle of several modalities that takes milliseconds to make: colours, which all of its towers see.

`text` reads the words red, green and blue, `image` the mean colour, `table` three numbers called so, `series` the means of three channels
called so, and `audio` three bands of pitch. Vectors have the three colours, and a constant of each tower that keeps the towers apart as the
modality gap does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from nearfar.bundle import Bundle, BundleWriter, Manifest, Provenance, Tower
from nearfar.bundle.joint_record import JointRecord, ScoreScale
from nearfar.frontend import AudioSettings, ImageSettings, TextFrontend
from nearfar.frontend.settings import ChannelSettings, JointSettings, NumberColumn, SeriesSettings, TableSettings
from nearfar.sources.document import Document

DIM = 8
COLOURS = {"red": (220, 30, 30), "green": (30, 210, 30), "blue": (30, 30, 220)}
TOWERS = ("text", "image", "audio", "series", "table")
RATE = 8000
PITCHES = {"red": 400.0, "green": 1000.0, "blue": 2500.0}
GAP = 0.8
"""Size of the constant of each tower beside a colour of 1."""

_FILTER = 256


def write_joint_bundle(
    directory: Path, *, towers: Sequence[str] = TOWERS, scaled: bool = True, image_size: int = 8, name: str = "colours"
) -> Bundle:
    """Write a bundle to `directory`; the same arguments give the same bytes.

    Args:
        directory: where the bundle goes.
        towers: some of `TOWERS`.
        scaled: whether its manifest has the scales of scores, which here follow from the constants.
        image_size: pixels of a side that the tower of pictures takes.
        name: of the bundle.
    """
    text = TextFrontend.train(
        [f"a {colour} thing, a {colour} one, {colour}" for colour in COLOURS] * 20, vocab_size=200, max_query_tokens=16
    )
    frontends = {
        "text": text.settings,
        "image": ImageSettings(size=image_size),
        "audio": AudioSettings(
            rate=RATE, step=2000, longest=16_000, frame=200, hop=80, bands=24, lowest=60.0, highest=3800.0
        ),
        "series": SeriesSettings(
            channels=tuple(ChannelSettings(name=colour, centre=(0.0,), scale=(1.0,)) for colour in COLOURS),
            period=1.0,
            window=4,
            max_gap=1.0,
        ),
        "table": TableSettings(
            columns=tuple(NumberColumn(name=colour, knots=(0.0, 1.0), levels=(0.0, 1.0)) for colour in COLOURS)
        ),
    }
    graphs = {
        "text": lambda: _text_graph(text),
        "image": lambda: _image_graph(image_size),
        "audio": _audio_graph,
        "series": _series_graph,
        "table": _table_graph,
    }
    scales = [
        ScoreScale(query=one, items=other, mean=_mean(one, other), spread=0.2) for one in towers for other in towers
    ]
    manifest = Manifest(
        created=datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
        name=name,
        kind="joint-encoder",
        towers={tower: Tower(graph=f"{tower}.onnx") for tower in towers},
        dim=DIM,
        dims=(DIM // 2,),
        frontend=JointSettings(towers={tower: frontends[tower] for tower in towers}),
        joint=JointRecord(
            trained=(tuple(towers[:2]),) if len(towers) > 1 else ((towers[0], towers[0]),),
            scales=tuple(scales) if scaled else (),
        ),
        provenance=Provenance(recipe={"name": name}, recipe_sha256="0" * 64, data_fingerprint="1" * 64),
    )
    with BundleWriter(directory) as writer:
        for tower in towers:
            writer.add(f"{tower}.onnx", graphs[tower]().SerializeToString())
        if "text" in towers:
            writer.add(text.settings.tokenizer, text.to_bytes())
        return writer.finish(manifest, "card")


def write_colours(folder: Path, count: int = 3) -> list[Path]:
    """So many PNG files of each colour, `red-0.png` and so on, each a little different."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for colour, pixel in COLOURS.items():
        for number in range(count):
            paths.append(folder / f"{colour}-{number}.png")
            picture(pixel, number).save(paths[-1])
    return paths


def picture(pixel: Sequence[int], number: int = 0, size: int = 16) -> Image.Image:
    """A square of one colour, with some noise by number."""
    noise = np.random.default_rng(number).integers(-20, 20, (size, size, 3))
    return Image.fromarray((np.array(pixel) + noise).clip(0, 255).astype(np.uint8))


def tone(colour: str, seconds: float = 0.5) -> np.ndarray:
    """The pitch of a colour: float32 (t,) at `RATE`."""
    return np.sin(2 * np.pi * PITCHES[colour] * np.arange(int(seconds * RATE)) / RATE).astype(np.float32) * 0.5


def samples(colour: str, frames: int = 6) -> str:
    """A CSV file of series in which the channel of a colour is 1."""
    values = ",".join("1.0" if one == colour else "0.0" for one in COLOURS)
    return "\n".join([f"time,{','.join(COLOURS)}", *(f"{second}.5,{values}" for second in range(frames))]) + "\n"


def row(colour: str) -> Mapping[str, float]:
    """A row of a table of a colour."""
    return {one: float(one == colour) for one in COLOURS}


def colour_documents(folder: Path) -> list[Document]:
    """For each colour a text, a picture (a path), a recording (an array), a window of series and a row."""
    documents = []
    for colour, path in zip(COLOURS, write_colours(folder, 1), strict=True):
        window = np.tile(np.array(list(row(colour).values()), np.float32), (4, 1))
        documents += [
            Document(f"{colour}-text", f"a {colour} thing"),
            Document(f"{colour}-image", "", title=path.name, location=str(path), modality="image", item=path),
            Document(f"{colour}-audio", "", modality="audio", item=tone(colour)),
            Document(f"{colour}-series", "", modality="series", item=window),
            Document(f"{colour}-table", "", modality="table", item=row(colour)),
        ]
    return documents


def _mean(one: str, other: str) -> float:
    """The cosine of two vectors of other colours: what their constants alone give."""
    return (GAP**2 if one == other else 0.0) / (1 + GAP**2)


def _gap(tower: str) -> np.ndarray:
    constant = np.zeros(DIM, np.float32)
    constant[3 + TOWERS.index(tower)] = GAP
    return constant


def _to_colours() -> np.ndarray:
    return np.eye(3, DIM, dtype=np.float32)


def _model(
    tower: str, nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], constants: Mapping[str, np.ndarray]
) -> onnx.ModelProto:
    """From `amounts` (n, 3) of colours: the largest is 1, then the constant of the tower, then unit length."""
    ends = {
        "to_colours": _to_colours(),
        "gap": _gap(tower),
        "last": np.array([1], np.int64),
        "tiny": np.array(1e-6, np.float32),
        **constants,
    }
    nodes = [
        *nodes,
        helper.make_node("Relu", ["amounts"], ["above"]),
        helper.make_node("ReduceL2", ["above", "last"], ["size"], keepdims=1),
        helper.make_node("Add", ["size", "tiny"], ["some"]),
        helper.make_node("Div", ["above", "some"], ["shares"]),
        helper.make_node("MatMul", ["shares", "to_colours"], ["coloured"]),
        helper.make_node("Add", ["coloured", "gap"], ["moved"]),
        helper.make_node("ReduceL2", ["moved", "last"], ["length"], keepdims=1),
        helper.make_node("Div", ["moved", "length"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        tower,
        inputs=inputs,
        outputs=[helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", DIM])],
        initializer=[numpy_helper.from_array(value, key) for key, value in ends.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def _text_graph(text: TextFrontend) -> onnx.ModelProto:
    table = np.zeros((text.vocab_size, 3), np.float32)
    for place, colour in enumerate(COLOURS):
        (ids,) = text.encode([colour], "query")
        table[ids, place] = 1
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Cast", ["mask"], ["weights"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["weights", "two"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "last"], ["amounts"], keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "L"]) for name in ("ids", "mask")]
    return _model("text", nodes, inputs, {"table": table, "two": np.array([2], np.int64)})


def _image_graph(size: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("ReduceMean", ["pixels", "places"], ["means"], keepdims=0),
        helper.make_node("Sub", ["means", "dark"], ["amounts"]),
    ]
    inputs = [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, size, size])]
    constants = {"places": np.array([2, 3], np.int64), "dark": np.array(0.25, np.float32)}
    return _model("image", nodes, inputs, constants)


def _audio_graph() -> onnx.ModelProto:
    """The power in each of three bands, by a bank of windowed waves."""
    at = np.arange(_FILTER) / RATE
    waves = [[np.cos(2 * np.pi * pitch * at + phase) for phase in (0, np.pi / 2)] for pitch in PITCHES.values()]
    bank = np.stack([wave * np.hanning(_FILTER) for pair in waves for wave in pair])[:, None].astype(np.float32)
    nodes = [
        helper.make_node("Unsqueeze", ["pcm", "middle"], ["channel"]),
        helper.make_node("Conv", ["channel", "bank"], ["filtered"], strides=[64]),
        helper.make_node("Mul", ["filtered", "filtered"], ["power"]),
        helper.make_node("ReduceMean", ["power", "time"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "pairs"], ["amounts"]),
    ]
    inputs = [helper.make_tensor_value_info("pcm", TensorProto.FLOAT, ["n", "t"])]
    constants = {
        "middle": np.array([1], np.int64),
        "bank": bank,
        "time": np.array([2], np.int64),
        "pairs": np.repeat(np.eye(3, dtype=np.float32), 2, axis=0),
    }
    return _model("audio", nodes, inputs, constants)


def _series_graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Mul", ["window", "present"], ["there"]),
        helper.make_node("ReduceMean", ["there", "last"], ["amounts"], keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4, 3]) for name in ("window", "present")]
    return _model("series", nodes, inputs, {})


def _table_graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["codes"], ["known"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["known", "none"], ["nothing"]),
        helper.make_node("Add", ["values", "nothing"], ["amounts"]),
    ]
    inputs = [
        helper.make_tensor_value_info("values", TensorProto.FLOAT, ["n", 3]),
        helper.make_tensor_value_info("codes", TensorProto.INT64, ["n", 3]),
    ]
    return _model("table", nodes, inputs, {"none": np.array(0, np.float32)})
