"""The file of a teacher's vectors: whole or not there, and after a kill the same to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearfar.learn.data.vector_file import open_vectors, write_vectors

ROWS, DIM = 600, 5
VECTORS = np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)


class Asked:
    """Embeds by number, and remembers which slices it was asked for."""

    def __init__(self) -> None:
        self.slices: list[tuple[int, int]] = []

    def __call__(self, rows: slice) -> np.ndarray:
        self.slices.append((rows.start, rows.stop))
        return VECTORS[rows]


def test_what_was_written_is_read_in_half_precision(tmp_path: Path) -> None:
    asked = Asked()
    write_vectors(tmp_path / "v", ROWS, DIM, asked)
    assert [path.name for path in tmp_path.iterdir()] == ["v"]
    found = open_vectors(tmp_path / "v", DIM)
    assert (found.dtype, found.shape) == (np.float16, (ROWS, DIM))
    np.testing.assert_array_equal(found, VECTORS.astype(np.float16))
    write_vectors(tmp_path / "v", ROWS, DIM, asked)
    assert asked.slices == [(0, 256), (256, 512), (512, 600)], "what is there is not embedded again"


@pytest.mark.parametrize("length", [0, 1, 2 * DIM, 2560, 2560 + 7, 2 * 2560, 6000 - 3, 6000, 9000])
def test_a_part_that_a_killed_run_left_is_gone_on_with_block_by_block(tmp_path: Path, length: int) -> None:
    """A block that was cut off is embedded anew as a whole: what an encoder makes of a text may depend on its batch."""
    whole = VECTORS.astype(np.float16).tobytes()
    (tmp_path / "v.part").write_bytes((whole + bytes(9000))[:length])
    asked = Asked()
    write_vectors(tmp_path / "v", ROWS, DIM, asked)
    assert (tmp_path / "v").read_bytes() == whole
    assert set(asked.slices) <= {(0, 256), (256, 512), (512, 600)}
    assert len(asked.slices) == (3 if length < 2560 else 2 if length < 5120 else 1 if length < 6000 else 0)
    assert not (tmp_path / "v.part").exists()


def test_a_part_that_is_left_by_an_error_is_used(tmp_path: Path) -> None:
    def fails(rows: slice) -> np.ndarray:
        if rows.start:
            raise RuntimeError("no memory")
        return VECTORS[rows]

    with pytest.raises(RuntimeError, match="no memory"):
        write_vectors(tmp_path / "v", ROWS, DIM, fails)
    assert not (tmp_path / "v").exists()
    asked = Asked()
    write_vectors(tmp_path / "v", ROWS, DIM, asked)
    assert asked.slices[0] == (256, 512)
    np.testing.assert_array_equal(open_vectors(tmp_path / "v", DIM), VECTORS.astype(np.float16))


def test_no_rows_at_all(tmp_path: Path) -> None:
    asked = Asked()
    write_vectors(tmp_path / "v", 0, DIM, asked)
    assert open_vectors(tmp_path / "v", DIM).shape == (0, DIM)
    assert not asked.slices
