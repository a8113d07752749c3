"""One graph of a bundle on the device: opened from verified bytes, held to its promise, checked at every run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from nearfar.bundle.bundle import Bundle
from nearfar.errors import BundleError, DataError
from nearfar.frontend.frontend import Feed, GraphInput

# A tensor whose data lies outside the graph names its file under the key "location". In protobuf that key is the bytes
# of its length (8, also as an overlong varint) and of the word, whatever stands around them; eleven chance bytes of
# weights that read the same are not to be expected.
_EXTERNAL_DATA = re.compile(rb"(?:\x08|\x88\x80*\x00)location")

Values = npt.NDArray[np.float32]


class BundleGraph:
    """A graph with inputs and outputs of known names, ready to run; one may be used from several threads.

    Args:
        bundle: what it comes from.
        name: of its file.
        takes: its inputs: these and no others.
        contract: the same in words, for messages.
        gives: outputs that it must have, all float32, with the names of their axes: `{"embedding": ("n", "d")}`.
        unit: what the product of the first input's shape counts, for messages.
        threads: CPU threads of one run.

    Raises:
        BundleError: the file is damaged, refers to other files, or has other inputs or outputs.
        DataError: `threads` is below 1.
    """

    def __init__(
        self,
        bundle: Bundle,
        name: str,
        *,
        takes: Mapping[str, GraphInput],
        contract: str,
        gives: Mapping[str, tuple[str, ...]],
        unit: str,
        threads: int = 1,
    ) -> None:
        if threads < 1:
            raise DataError(f"threads is {threads}: give 1 or more")
        self.name = name
        self.path = bundle.path / name
        self._unit = unit
        self._session = _open(bundle, name, threads)
        inputs = {node.name: node for node in self._session.get_inputs()}
        outputs = {node.name: node for node in self._session.get_outputs()}
        fits = inputs.keys() == takes.keys() and all(
            _is(node, takes[key].element, takes[key].rank) for key, node in inputs.items()
        )
        if not fits or not all(
            key in outputs and _is(outputs[key], "tensor(float)", len(axes)) for key, axes in gives.items()
        ):
            promised = " and ".join(f"{key}, float32 ({', '.join(axes)})" for key, axes in gives.items())
            found = f"it has inputs {_signature(inputs)} and outputs {_signature(outputs)}"
            raise BundleError(
                f"{self.path}: a graph of this kind takes {contract}, and gives {promised}, but {found}: export the bundle again"
            )

    def run(self, feed: Feed, output: str, *axes: int) -> Values:
        """Run the graph on one batch and check what comes out.

        Args:
            feed: its inputs, of n items.
            output: which output.
            axes: the sizes that it must have after the first axis, which is n.

        Returns:
            float32 (n, *axes), finite.

        Raises:
            BundleError: the graph fails on these items, or gives something else.
        """
        shape = next(iter(feed.values())).shape
        try:
            (values,) = self._session.run([output], feed)
        except Exception as error:  # onnxruntime raises its own classes, made at run time
            size = " x ".join(map(str, shape))
            raise BundleError(
                f"{self.path}: the graph failed on a batch of {size} {self._unit} ({_short(error)}): export the bundle again"
            ) from error
        expected = (shape[0], *axes)
        if values.shape != expected:
            raise BundleError(
                f"{self.path}: gave {output} of shape {values.shape} where the manifest promises {expected}: export the bundle again"
            )
        if not np.isfinite(values).all():
            raise BundleError(
                f"{self.path}: gave {output} values that are not finite numbers: the model is broken, train it again"
            )
        checked: Values = values
        return checked


def _open(bundle: Bundle, name: str, threads: int) -> onnxruntime.InferenceSession:
    """Load one graph from verified bytes, so that nothing outside them is read."""
    where = bundle.path / name
    content = bundle.read(name)
    if not content:
        raise BundleError(f"{where}: is empty: export the bundle again")
    if _EXTERNAL_DATA.search(content):
        raise BundleError(
            f"{where}: refers to data in other files, which a bundle must not: "
            "save the graph with its weights inside (onnx.save_model(..., save_as_external_data=False))"
        )
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a phone's battery before microseconds
    options.add_session_config_entry("session.load_model_format", "ONNX")  # or four bytes would choose another reader
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own classes, made at run time
        raise BundleError(
            f"{where}: not an ONNX graph that this onnxruntime can run ({_short(error)}): export the bundle again"
        ) from error


def _is(node: Any, kind: str, rank: int) -> bool:
    """Whether an input or output is of `kind` and `rank`; a graph may leave the rank of an output open."""
    return node.type == kind and len(node.shape or [None] * rank) == rank


def _signature(nodes: Mapping[str, Any]) -> str:
    return ", ".join(f"{node.name}: {node.type} {node.shape}" for node in nodes.values()) or "none"


def _short(error: Exception) -> str:
    """Return the first line of an error of onnxruntime, which may go on for pages."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:300]
