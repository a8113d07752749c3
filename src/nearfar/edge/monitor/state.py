"""The file that a monitor goes on from after a restart: it is whole, or it is not read.

One line with what it is and a digest of the rest, then JSON with arrays in base64. Nothing in it is executed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from nearfar.edge.monitor.events import Alarm, Cleared, ClockEvent, Drift, Event, SensorFault, Share, as_record
from nearfar.errors import StoreError
from nearfar.index.derived_file import derived_file

FORMAT: Final = 1

_NAME = "nearfar-monitor-state"
_ARRAY = {"dtype", "shape", "base64"}
_KINDS: Final = {kind.kind: kind for kind in (Alarm, Cleared, SensorFault, ClockEvent, Drift)}
_MOST = 256 * 2**20
INSTEAD: Final = (
    "remove it, or begin anew with --restart, in Python on_bad_state='restart'; what was before is not known then"
)
"""What to do about a state that cannot be used."""


def write_state(path: Path, bundle: str, state: Mapping[str, Any]) -> None:
    """Replace the file at `path` in one step; it is on the medium when this returns.

    Args:
        path: the file; its folder must be there.
        bundle: digest of the bundle that the state is of.
        state: numbers, texts, arrays, and lists and mappings of them.

    Raises:
        StoreError: it cannot be written.
    """
    body = json.dumps({"bundle": bundle, "state": state}, default=_plain, separators=(",", ":")).encode()
    try:
        with derived_file(path) as file:
            file.write(f"{_NAME} {FORMAT} {hashlib.sha256(body).hexdigest()}\n".encode())
            file.write(body)
    except OSError as error:
        raise StoreError(
            f"{path}: the state of the monitor cannot be written ({error.strerror}): check the folder, its permissions and room"
        ) from error


def read_state(path: Path, bundle: str) -> dict[str, Any]:
    """Read what `write_state` wrote for the same bundle.

    Raises:
        StoreError: it cannot be read, is torn or altered, of a newer nearfar, or of another bundle.
    """
    try:
        if (size := path.stat().st_size) > _MOST:
            raise StoreError(f"{path}: {size:,} bytes, which is no state of a monitor: give another path")
        head, _, body = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise StoreError(
            f"{path}: the state of the monitor cannot be read ({error.strerror}): check the permissions"
        ) from error
    words = head.decode("utf-8", "replace").split()
    if len(words) != 3 or words[0] != _NAME:
        raise StoreError(f"{path}: is not the state of a monitor: give another path, or {INSTEAD}")
    if words[1] != str(FORMAT):
        raise StoreError(
            f"{path}: has format {words[1]}, which this nearfar does not read ({FORMAT}): upgrade nearfar, or {INSTEAD}"
        )
    if hashlib.sha256(body).hexdigest() != words[2]:
        raise StoreError(f"{path}: is torn or altered: {INSTEAD}")
    try:
        content = json.loads(body, object_hook=_rich)
        owner, state = content["bundle"], content["state"]
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise StoreError(f"{path}: cannot be understood ({error}): {INSTEAD}") from error
    if owner != bundle:
        raise StoreError(
            f"{path}: belongs to another bundle ({owner[:12]}, not {bundle[:12]}): give each bundle a state of its own, or {INSTEAD}"
        )
    found: dict[str, Any] = state
    return found


def event_of(record: Mapping[str, Any]) -> Event:
    """The event that `as_record` made this of."""
    values = {name: value for name, value in record.items() if name != "kind"}
    if "channels" in values:
        values["channels"] = tuple(Share(**share) for share in values["channels"])
    event: Event = _KINDS[record["kind"]](**values)
    return event


def _plain(value: object) -> object:
    """What JSON does not know."""
    if isinstance(value, np.ndarray):
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"dtype": value.dtype.str, "shape": value.shape, "base64": data}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Alarm | Cleared | SensorFault | ClockEvent | Drift):
        return as_record(value)
    raise TypeError(f"a state holds numbers, texts and arrays, not {type(value).__name__}")


def _rich(value: dict[str, Any]) -> Any:
    if value.keys() != _ARRAY:
        return value
    kind = np.dtype(value["dtype"])
    if kind.kind not in "biuf":
        raise ValueError(f"an array of {kind}")
    return np.frombuffer(base64.b64decode(value["base64"], validate=True), kind).reshape(value["shape"]).copy()
