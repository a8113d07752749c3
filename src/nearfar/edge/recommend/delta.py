"""Updates of a catalogue: what is new, changed and gone since the one before, signed by the publisher of the bundle.

A file is

    magic      b"NFDELTA1"
    length     of the header, u32, little-endian
    header     JSON: which bundle, the number of the update, digests of the catalogue before and after it, sizes of the parts
    parts      names of removed items; names, vectors (int8), scales, popularity and facts of those that are new or changed
    signature  Ed25519 over all before it, 64 bytes

Nothing of it is looked at before the signature is found genuine. The header holds a second one, over what the catalogue becomes, that
devices keep with it: who may write their folder cannot put a catalogue of his own there. The digests make the order of updates the only one there is: none can be
left out, given twice, or put on a catalogue that differs in any bit.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from nearfar.bundle.bundle import Bundle
from nearfar.edge.recommend.catalogue import Catalogue, recommender_of
from nearfar.edge.recommend.catalogue_files import check_names, npy, packed_lines, read_npy, unpacked_lines
from nearfar.edge.recommend.signing import SIGNATURE_BYTES, Publisher, is_signed
from nearfar.errors import BundleError, DataError

LARGEST: Final = 256 * 2**20
"""Bytes that an update may have; a larger change is a new bundle."""
_MAGIC: Final = b"NFDELTA1"
_LENGTH: Final = struct.Struct("<I")
_FORMAT: Final = 1
_SHAPE: Final = {
    "format": int,
    "bundle": str,
    "sequence": int,
    "base": str,
    "result": str,
    "removed": int,
    "put": int,
    "dim": int,
    "facts": bool,
    "parts": list,
    "signature": str,
}


@dataclass(frozen=True, eq=False)
class Delta:
    """One update.

    Attributes:
        bundle: digest of the bundle whose catalogue it changes.
        sequence: its number, from 1.
        base: digest of the catalogue that it changes.
        result: digest of what that becomes.
        removed: names of items that are no more.
        names: of items that are new or changed.
        codes: int8 (m, d), scales: float16 (m,), popularity: float16 (m,), fact_lines: of these, as in `Catalogue`.
        signature: of `catalogue_statement` of what it becomes; empty before its publisher has signed it.
    """

    bundle: str
    sequence: int
    base: str
    result: str
    removed: tuple[str, ...]
    names: tuple[str, ...]
    codes: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float16]
    popularity: npt.NDArray[np.float16]
    fact_lines: tuple[str, ...] = ()
    signature: bytes = b""


def catalogue_statement(bundle: str, sequence: int, digest: str) -> bytes:
    """What a publisher signs of a catalogue that updates have made.

    Args:
        bundle: digest of the bundle.
        sequence: number of the latest update.
        digest: of the catalogue.
    """
    return f"nearfar catalogue 1\n{bundle}\n{sequence}\n{digest}\n".encode()


def make_delta(bundle: Bundle, before: Catalogue, after: Catalogue) -> tuple[Delta, Catalogue]:
    """What has to be sent so that devices with one catalogue have another one.

    Args:
        bundle: of the recommender.
        before: the catalogue that devices have.
        after: what it shall be; its order, prior and sequence do not matter: devices keep the order of what they have, put new items at
            the end, and new items come after nothing in the prior.

    Returns:
        The update, and the catalogue that devices have then.

    Raises:
        DataError: nothing differs, the dimensions do, or an item cannot be one.
    """
    if before.dim != after.dim:
        raise DataError(
            f"vectors of {before.dim} components cannot become ones of {after.dim} by an update: make a new bundle"
        )
    removed = tuple(name for name in before.names if after.number_of(name) is None)
    put = np.array([n for n, name in enumerate(after.names) if _differs(before, after, name, n)], dtype=np.int64)
    if not removed and not len(put):
        raise DataError("nothing differs from the catalogue that devices have: there is nothing to send")
    draft = Delta(
        bundle.digest,
        before.sequence + 1,
        before.digest,
        "",
        removed,
        tuple(after.names[number] for number in put),
        after.codes[put],
        after.scales[put],
        after.popularity[put],
        tuple(after.fact_lines[number] for number in put) if after.fact_lines else (),
    )
    changed = _changed(before, draft)
    check_items(draft)
    return replace(draft, result=changed.digest), changed


def apply_delta(bundle: Bundle, catalogue: Catalogue, delta: Delta, where: str) -> Catalogue:
    """The catalogue after an update.

    Args:
        bundle: of the recommender.
        catalogue: the one that is there; where it is the result of this very update, it is given back.
        delta: of `read_delta`.
        where: the update lies, for messages.

    Raises:
        DataError: it is of another bundle, older than what is there, one between was left out, or it does not give what it promises.
    """
    if delta.bundle != bundle.digest:
        raise DataError(
            f"{where}: is an update for another bundle ({delta.bundle[:12]}), not for {bundle.path} ({bundle.digest[:12]}): "
            "get the one that belongs to this bundle"
        )
    if (delta.sequence, delta.result) == (catalogue.sequence, catalogue.digest):
        return catalogue
    if delta.sequence <= catalogue.sequence:
        raise DataError(
            f"{where}: is update {delta.sequence}, and this catalogue has had {catalogue.sequence}: older ones are not taken, get the latest"
        )
    if delta.sequence > catalogue.sequence + 1:
        first, last = catalogue.sequence + 1, delta.sequence - 1
        missing = f"update {first}" if first == last else f"updates {first} to {last}"
        raise DataError(
            f"{where}: is update {delta.sequence}, and this catalogue lacks {missing}: apply what is missing first"
        )
    if delta.base != catalogue.digest:
        raise DataError(
            f"{where}: changes another catalogue than the one here, though it has the right number: get the updates anew from their publisher"
        )
    changed = _changed(catalogue, delta)
    if changed.digest != delta.result:
        raise DataError(f"{where}: does not give the catalogue that it promises: get it anew from its publisher")
    return changed


def write_delta(delta: Delta, publisher: Publisher) -> bytes:
    """An update as a signed file."""
    parts = [packed_lines(delta.removed), packed_lines(delta.names)]
    parts += [npy(delta.codes), npy(delta.scales), npy(delta.popularity), packed_lines(delta.fact_lines)]
    header = {
        "format": _FORMAT,
        "bundle": delta.bundle,
        "sequence": delta.sequence,
        "base": delta.base,
        "result": delta.result,
        "removed": len(delta.removed),
        "put": len(delta.names),
        "dim": delta.codes.shape[1],
        "facts": bool(delta.fact_lines),
        "parts": [len(part) for part in parts],
        "signature": publisher.sign(catalogue_statement(delta.bundle, delta.sequence, delta.result)).hex(),
    }
    head = json.dumps(header).encode()
    content = b"".join([_MAGIC, _LENGTH.pack(len(head)), head, *parts])
    return content + publisher.sign(content)


def check_publisher(bundle: Bundle, publisher: Publisher, where: str) -> None:
    """Refuse to make what no device with this bundle would take.

    Args:
        bundle: that devices have.
        publisher: who signs.
        where: the key lies, for messages.

    Raises:
        BundleError: the bundle takes no updates, or those of another publisher.
    """
    expected = publisher_of(bundle)
    if publisher.public_key != expected.lower():
        raise BundleError(
            f"{bundle.path}: takes updates of the publisher {expected[:12]}..., but the key in {where} is that of "
            f"{publisher.public_key[:12]}...: sign with the other key"
        )


def read_delta(content: bytes, bundle: Bundle, where: str) -> Delta:
    """Check and read an update.

    Args:
        content: of the file.
        bundle: whose publisher must have signed it.
        where: its path, for messages.

    Raises:
        DataError: it is too large, no update, or not signed by the publisher of the bundle.
        BundleError: the bundle takes no updates.
        MissingExtraError: `cryptography` is not installed.
    """
    public_key = publisher_of(bundle)
    if len(content) > LARGEST:
        raise DataError(
            f"{where}: {len(content):,} bytes are too large for an update (at most {LARGEST:,}): make a new bundle"
        )
    if not content.startswith(_MAGIC) or len(content) < len(_MAGIC) + _LENGTH.size + SIGNATURE_BYTES:
        raise DataError(f"{where}: not an update of a catalogue, or cut off: get it anew from its publisher")
    signed, signature = content[:-SIGNATURE_BYTES], content[-SIGNATURE_BYTES:]
    if not is_signed(signed, signature, public_key, str(bundle.path)):
        raise DataError(
            f"{where}: is not signed by the publisher of {bundle.path} ({public_key[:12]}...), or was changed on its way: "
            "do not use it, get it anew from its publisher"
        )
    try:
        return _parsed(signed, bundle.manifest.dim, where)
    except (ValueError, TypeError, KeyError, BundleError, struct.error) as error:
        raise DataError(
            f"{where}: signed, but made by a nearfar that this one does not understand ({error}): upgrade nearfar"
        ) from error


def publisher_of(bundle: Bundle) -> str:
    """The public key of who may change the catalogue of a bundle.

    Raises:
        BundleError: nobody may.
    """
    public_key = recommender_of(bundle).signed_by
    if public_key is None:
        raise BundleError(
            f"{bundle.path}: names nobody who may change its catalogue: set recommend.signed_by in the recipe "
            "(nearfar catalogue key prints it), and train again"
        )
    return public_key


def _parsed(content: bytes, dim: int, where: str) -> Delta:
    (length,) = _LENGTH.unpack_from(content, len(_MAGIC))
    begin = len(_MAGIC) + _LENGTH.size
    header = json.loads(content[begin : begin + length])
    if not isinstance(header, dict) or any(not isinstance(header.get(key), kind) for key, kind in _SHAPE.items()):
        raise ValueError("its header is of another shape")
    if header["format"] != _FORMAT:
        raise ValueError(f"format {header['format']}")
    ends = list(accumulate(header["parts"], initial=begin + length))
    if len(ends) != 7 or ends[-1] != len(content):
        raise ValueError("its parts have other sizes")
    if header["dim"] != dim:
        raise ValueError(f"vectors of {header['dim']} components, where the bundle has {dim}")
    removed, names, codes, scales, popularity, facts = (content[start:end] for start, end in pairwise(ends))
    put = header["put"]
    if put * dim > len(content):
        raise ValueError("it is too small for its vectors")
    delta = Delta(
        header["bundle"],
        header["sequence"],
        header["base"],
        header["result"],
        tuple(unpacked_lines(removed, where, header["removed"])),
        tuple(unpacked_lines(names, where, put)),
        read_npy(codes, where, "i1", (put, dim)),
        read_npy(scales, where, "<f2", (put,)),
        read_npy(popularity, where, "<f2", (put,)),
        tuple(unpacked_lines(facts, where, put if header["facts"] else 0)),
        bytes.fromhex(header["signature"]),
    )
    check_items(delta)
    return delta


def check_items(delta: Delta) -> None:
    """Refuse items that no device could rank or show.

    Raises:
        DataError: a name is none or comes twice, a number is not finite, or facts are no facts.
    """
    check_names(delta.names)
    for what, values in (("the vector", delta.scales), ("the popularity", delta.popularity)):
        if len(odd := np.flatnonzero(~np.isfinite(values))):
            raise DataError(f"item {delta.names[odd[0]][:80]!r}: {what} is not of finite numbers")
    for name, line in zip(delta.names, delta.fact_lines, strict=False):
        try:
            known = isinstance(json.loads(line), dict)
        except (ValueError, RecursionError):
            known = False
        if not known:
            raise DataError(f"item {name[:80]!r}: its facts are no JSON object: {line[:80]!r}")


def _differs(before: Catalogue, after: Catalogue, name: str, number: int) -> bool:
    """Whether an item of the later catalogue is new or another one than before."""
    old = before.number_of(name)
    return (
        old is None
        or before.scales[old] != after.scales[number]
        or before.popularity[old] != after.popularity[number]
        or not np.array_equal(before.codes[old], after.codes[number])
        or _fact_line(before, old) != _fact_line(after, number)
    )


def _fact_line(catalogue: Catalogue, number: int) -> str:
    return catalogue.fact_lines[number] if catalogue.fact_lines else "{}"


def _changed(catalogue: Catalogue, delta: Delta) -> Catalogue:
    """Rows taken out, replaced and put at the end; digests are not looked at."""
    gone = catalogue.numbers_of(delta.removed)
    kept = np.ones(len(catalogue), dtype=np.bool_)
    kept[gone] = False
    new = np.where(kept, np.cumsum(kept) - 1, -1)
    left = int(kept.sum())
    if not left and not delta.names:
        raise DataError("nothing would be left to recommend: a catalogue needs an item")
    places = np.empty(len(delta.names), dtype=np.int64)
    fresh: list[str] = []
    for row, name in enumerate(delta.names):
        old = catalogue.number_of(name)
        if old is None or not kept[old]:
            places[row] = left + len(fresh)
            fresh.append(name)
        else:
            places[row] = new[old]
    total = left + len(fresh)
    codes, scales, popularity = (
        np.concatenate([part[kept], np.zeros((total - left, *part.shape[1:]), dtype=part.dtype)])
        for part in (catalogue.codes, catalogue.scales, catalogue.popularity)
    )
    codes[places], scales[places], popularity[places] = delta.codes, delta.scales, delta.popularity
    facts: list[str] = []
    if catalogue.fact_lines or delta.fact_lines:
        facts = [_fact_line(catalogue, int(number)) for number in np.flatnonzero(kept)] + ["{}"] * len(fresh)
        for row, place in enumerate(places):
            facts[place] = delta.fact_lines[row] if delta.fact_lines else "{}"
    names = [catalogue.names[number] for number in np.flatnonzero(kept)] + fresh
    prior = None if catalogue.prior is None else catalogue.prior.renumbered(new, total)
    return Catalogue(tuple(names), codes, scales, popularity, prior, tuple(facts), delta.sequence)
