"""Sealed files: what goes in comes out, and nothing else does."""

import shutil

import numpy as np
import pytest

from nearfar.edge.store.sealed_file import PIECE_BYTES, sealed_file, unseal
from nearfar.errors import StoreError

pytest.importorskip("cryptography")

KEY = bytes(range(32))
HEADER, TAG = 48, 16


def seal(path, *parts, key=KEY):
    with sealed_file(path, key=key) as file:
        for part in parts:
            assert file.write(part) == memoryview(part).nbytes


@pytest.mark.parametrize(
    "size", [0, 1, 15, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, 3 * PIECE_BYTES + 7]
)
def test_what_was_sealed_comes_out_however_it_was_cut(tmp_path, size):
    content = np.random.default_rng(size).bytes(size)
    for name, cut in {"whole": max(size, 1), "odd": 300_007, "pieces": PIECE_BYTES}.items():
        path = tmp_path / name
        seal(path, *(content[begin : begin + cut] for begin in range(0, size, cut)))
        assert unseal(path, key=KEY).tobytes() == content
        pieces = max(1, -(-size // PIECE_BYTES))
        assert path.stat().st_size == HEADER + size + pieces * TAG


def test_arrays_go_in_as_they_are_and_come_out_writable(tmp_path):
    array = np.arange(1000, dtype=np.float32).reshape(10, 100)
    with sealed_file(tmp_path / "a", key=KEY) as file:
        np.lib.format.write_array(file, array)
        assert file.tell() == 128 + array.nbytes
        assert not file.seekable()
    content = unseal(tmp_path / "a", key=KEY)
    assert (content[128:].view(np.float32).reshape(10, 100) == array).all()
    content[0] = 7


def test_two_files_of_the_same_content_have_nothing_in_common(tmp_path):
    seal(tmp_path / "a", b"same" * 1000)
    first = (tmp_path / "a").read_bytes()
    seal(tmp_path / "a", b"same" * 1000)
    second = (tmp_path / "a").read_bytes()
    equal = sum(x == y for x, y in zip(first[16:], second[16:], strict=True))
    assert equal < 60  # some 16 of 4,048 by chance
    assert b"samesame" not in first


@pytest.fixture
def sealed(tmp_path):
    """Four pieces, the last one full."""
    path = tmp_path / "graph"
    seal(path, np.random.default_rng(0).bytes(4 * PIECE_BYTES))
    return path


def pieces_of(path):
    data = path.read_bytes()
    step = PIECE_BYTES + TAG
    return data[:HEADER], [data[begin : begin + step] for begin in range(HEADER, len(data), step)]


DAMAGE = {
    "a bit of the header": lambda h, p: (h[:-1] + bytes([h[-1] ^ 1]), p),
    "a bit of the version": lambda h, p: (h[:11] + bytes([h[11] ^ 2]) + h[12:], p),
    "a bit of a piece": lambda h, p: (h, [p[0], p[1][:500] + bytes([p[1][500] ^ 1]) + p[1][501:], *p[2:]]),
    "two pieces exchanged": lambda h, p: (h, [p[1], p[0], *p[2:]]),
    "the last piece taken away": lambda h, p: (h, p[:-1]),
    "all but the first taken away": lambda h, p: (h, p[:1]),
    "all pieces taken away": lambda h, p: (h, []),
    "a piece twice": lambda h, p: (h, [*p, p[-1]]),
    "the last byte taken away": lambda h, p: (h, [*p[:-1], p[-1][:-1]]),
    "a byte more": lambda h, p: (h, [*p, b"x"]),
    "half a header": lambda h, p: (h[:20], []),
    "nothing at all": lambda h, p: (b"", []),
    "other magic": lambda h, p: (b"x" + h[1:], p),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_changed_file_is_refused(sealed, damage):
    unseal(sealed, key=KEY)
    header, pieces = DAMAGE[damage](*pieces_of(sealed))
    sealed.write_bytes(header + b"".join(pieces))
    with pytest.raises(StoreError, match=r"graph: .*it is made again"):
        unseal(sealed, key=KEY)


def test_a_piece_of_another_file_is_refused(sealed, tmp_path):
    other = tmp_path / "other" / "graph"
    other.parent.mkdir()
    seal(other, unseal(sealed, key=KEY).tobytes())
    header, pieces = pieces_of(sealed)
    _, others = pieces_of(other)
    sealed.write_bytes(header + b"".join([pieces[0], others[1], *pieces[2:]]))
    with pytest.raises(StoreError, match="belongs to another index"):
        unseal(sealed, key=KEY)


def test_another_name_or_key_is_refused_and_a_copy_of_the_same_name_is_not(sealed, tmp_path):
    with pytest.raises(StoreError, match="belongs to another index"):
        unseal(sealed, key=bytes(32))
    (tmp_path / "copy").mkdir()
    assert len(unseal(shutil.copy(sealed, tmp_path / "copy" / "graph"), key=KEY)) == 4 * PIECE_BYTES
    with pytest.raises(StoreError, match="belongs to another index"):
        unseal(sealed.rename(tmp_path / "bits"), key=KEY)


def test_a_missing_file_is_a_store_error(tmp_path):
    with pytest.raises(StoreError, match="No such file"):
        unseal(tmp_path / "none", key=KEY)


def test_a_failure_while_writing_leaves_the_former_file_and_no_plain_text(sealed, tmp_path):
    before = sealed.read_bytes()

    def fail_after_writing():
        with sealed_file(sealed, key=KEY) as file:
            file.write(b"SECRET-WORDS " * 300_000)
            for path in tmp_path.iterdir():
                assert b"SECRET-WORDS" not in path.read_bytes()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_writing()
    assert sealed.read_bytes() == before
    assert list(tmp_path.iterdir()) == [sealed]
