"""Decoding: every kind of picture comes out right, and every kind of broken one is refused in one line."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
import tifffile
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from nearfar.errors import DataError, MissingExtraError
from nearfar.frontend import ImageFrontend, ImageSettings, PictureError
from nearfar.frontend.image import decode, resize, scaled

MAX = {np.uint8: 255, np.uint16: 65535}


def random(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, MAX[dtype] + 1, shape).astype(dtype)


def smooth(height: int, width: int) -> np.ndarray:
    """What JPEG keeps well."""
    down, across = np.mgrid[:height, :width]
    waves = [np.sin(down / 9 + k) + np.cos(across / (11 + k)) for k in range(3)]
    return np.clip(128 + 60 * np.stack(waves, axis=2), 0, 255).astype(np.uint8)


def file_of(picture: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff_of(array: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def npy_of(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def deep_png(array: np.ndarray, colour: int, *, extra: bytes = b"") -> bytes:
    """A 16-bit PNG (Pillow writes none in colour), its rows filtered by Up and Sub in turn."""
    height, width, channels = array.shape
    rows = np.frombuffer(array.astype(">u2").tobytes(), np.uint8).reshape(height, -1).astype(int)
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    left = np.hstack([np.zeros((height, 2 * channels), int), rows[:, : -2 * channels]])
    filtered = [
        bytes([2 - y % 2]) + ((rows - (left if y % 2 else above))[y] % 256).astype(np.uint8).tobytes()
        for y in range(height)
    ]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    content = chunk(b"IDAT", zlib.compress(b"".join(filtered)))
    return b"\x89PNG\r\n\x1a\n" + header + extra + content + chunk(b"IEND", b"")


# --- formats that keep every pixel ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 1, 3), (1, 40, 3), (40, 1, 3), (6, 4)])
def test_lossless_formats_come_back_exactly(kind, shape):
    array = random(*shape)
    channels = 3 if array.ndim == 3 else 1
    decoded = decode(file_of(array, kind), channels)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, array.reshape(*shape[:2], channels))


@pytest.mark.parametrize(("kind", "options"), [("WEBP", {"lossless": True}), ("TIFF", {"compression": "tiff_lzw"})])
def test_more_lossless_formats(kind, options):
    array = random(9, 8, 3)
    np.testing.assert_array_equal(decode(file_of(array, kind, **options), 3), array)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_come_back_nearly(kind):
    if kind == "AVIF" and not __import__("PIL.features").features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    array = smooth(48, 64)
    decoded = decode(file_of(array, kind, quality=95), 3)
    assert decoded.shape == array.shape
    assert np.abs(decoded.astype(int) - array).mean() < 3


def test_the_first_frame_counts():
    frames = [Image.fromarray(np.full((4, 4), shade, np.uint8)) for shade in (10, 200)]
    for kind in ("GIF", "TIFF"):
        content = file_of(frames[0], kind, save_all=True, append_images=frames[1:])
        assert (decode(content, 1) == 10).all()


def test_what_a_file_is_called_does_not_matter(tmp_path):
    array = random(5, 5, 3)
    (tmp_path / "a.jpg").write_bytes(file_of(array, "PNG"))
    np.testing.assert_array_equal(decode(tmp_path / "a.jpg", 3), array)
    (tmp_path / "b.png").write_bytes(npy_of(array))
    np.testing.assert_array_equal(decode(str(tmp_path / "b.png"), 3), array)


# --- 16 bits, many channels, floats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda a: file_of(a[:, :, 0], "PNG"), lambda a: file_of(a[:, :, 0], "TIFF"), npy_of])
def test_grey_keeps_16_bits(make):
    array = random(6, 7, 1, dtype=np.uint16)
    decoded = decode(make(array), 1)
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, array)
    np.testing.assert_array_equal(decode(make(array), 3), np.repeat(array, 3, axis=2))


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_deep_png_in_colour_or_with_opacity_keeps_16_bits(colour, channels):
    """Pillow alone would give 8 bits without a word."""
    array = random(7, 9, channels, dtype=np.uint16)
    decoded = decode(deep_png(array, colour), channels)
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, array)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(("dtype", "channels"), [(np.uint16, 3), (np.uint16, 4), (np.uint8, 6), (np.uint16, 13)])
def test_tiff_keeps_all_bits_and_channels(dtype, channels, byteorder):
    array = random(8, 9, channels, dtype=dtype)
    kind = "rgb" if channels < 5 else "minisblack"
    chunky = tiff_of(array, photometric=kind, planarconfig="contig", byteorder=byteorder)
    planar = tiff_of(np.moveaxis(array, 2, 0), photometric=kind, planarconfig="separate", byteorder=byteorder)
    for content in (chunky, planar, tiff_of(array, photometric=kind, planarconfig="contig", compression="zlib")):
        decoded = decode(content, channels)
        assert decoded.dtype == dtype
        np.testing.assert_array_equal(decoded, array)


def test_pages_of_a_tiff_are_channels_where_so_many_are_wanted():
    array = random(8, 9, 6)
    pages = tiff_of(np.moveaxis(array, 2, 0), photometric="minisblack")
    np.testing.assert_array_equal(decode(pages, 6), array)
    np.testing.assert_array_equal(decode(pages, 1), array[:, :, :1])
    np.testing.assert_array_equal(decode(tiff_of(array, photometric="minisblack"), 6), array)  # axes were not said


def test_deep_tiff_where_zero_is_white_is_turned_over():
    array = random(8, 9, dtype=np.uint16)
    decoded = decode(tiff_of(65535 - array, photometric="miniswhite"), 1)
    np.testing.assert_array_equal(decoded[:, :, 0], array)


def test_floats_stay_as_they_are():
    array = np.random.default_rng(0).random((5, 4, 2), dtype=np.float32)
    np.testing.assert_array_equal(decode(npy_of(array), 2), array)
    np.testing.assert_array_equal(decode(array.astype(np.float64), 2), array)
    np.testing.assert_array_equal(decode(file_of(array[:, :, 0], "TIFF"), 1)[:, :, 0], array[:, :, 0])
    for bad in (1.5, -0.1, np.nan, np.inf):
        with pytest.raises(PictureError, match=r"floats outside \[0, 1\]"):
            decode(np.full((2, 2), bad, np.float32), 1)


def test_arrays_in_another_byte_order():
    array = random(4, 5, 1, dtype=np.uint16)
    for item in (array.astype(">u2"), npy_of(array.astype(">u2")), npy_of(np.asfortranarray(array))):
        decoded = decode(item, 1)
        assert decoded.dtype == np.uint16
        np.testing.assert_array_equal(decoded, array)


# --- channels and opacity ------------------------------------------------------------------------------------------------


def test_colour_becomes_luma_and_grey_is_repeated():
    array = random(50, 60, 3)
    with_pillow = np.asarray(Image.fromarray(array).convert("L")).astype(int)
    grey = decode(array, 1)
    assert grey.shape == (50, 60, 1)
    assert np.abs(grey[:, :, 0] - with_pillow).max() <= 1
    np.testing.assert_array_equal(decode(grey, 3), np.repeat(grey, 3, axis=2))
    deep = array.astype(np.uint16) * 257
    assert np.abs(decode(deep, 1) / 257 - grey).max() <= 0.51


def test_opacity_is_composited_on_white():
    array = random(30, 30, 4)
    exact = np.rint(array[:, :, :3] * (array[:, :, 3:] / 255) + 255 - array[:, :, 3:])
    assert np.abs(decode(file_of(array, "PNG"), 3) - exact).max() <= 1
    np.testing.assert_array_equal(decode(file_of(array, "PNG"), 4), array)  # four are wanted: opacity is one of them
    clear = np.dstack([random(4, 4, 3), np.zeros((4, 4), np.uint8)])
    assert (decode(file_of(clear, "PNG"), 1) == 255).all()
    deep = random(6, 6, 4, dtype=np.uint16)
    exact = deep[:, :, :3] * (deep[:, :, 3:] / 65535) + 65535 - deep[:, :, 3:]
    for content in (deep_png(deep, 6), tiff_of(deep, photometric="rgb", extrasamples="unassalpha")):
        decoded = decode(content, 3)
        assert decoded.dtype == np.uint16
        assert np.abs(decoded - exact).max() <= 1


def test_grey_with_opacity():
    array = random(6, 5, 2)
    exact = array[:, :, 0] * (array[:, :, 1] / 255) + 255 - array[:, :, 1]
    bands = [Image.fromarray(np.ascontiguousarray(array[:, :, band])) for band in (0, 1)]
    content = file_of(Image.merge("LA", bands), "PNG")
    assert np.abs(decode(content, 1)[:, :, 0] - exact).max() <= 1
    np.testing.assert_array_equal(decode(content, 2), array)


def test_a_palette_with_and_without_a_clear_colour():
    indices = np.arange(16, dtype=np.uint8).reshape(4, 4)
    paletted = Image.new("P", (4, 4))
    paletted.putdata(indices.reshape(-1).tolist())
    colours = random(16, 3)
    paletted.putpalette(colours.reshape(-1).tolist())
    np.testing.assert_array_equal(decode(file_of(paletted, "PNG"), 3), colours[indices])
    expected = colours[indices].copy()
    expected[indices == 3] = 255
    for kind in ("PNG", "GIF"):
        np.testing.assert_array_equal(decode(file_of(paletted, kind, transparency=3), 3), expected)
    half = bytes([255] * 3 + [128] + [255] * 12)  # bytes: Pillow warns of these
    assert (decode(file_of(paletted, "PNG", transparency=half), 3)[indices == 3] > colours[3] - 1).all()


def test_one_bit_pictures_are_black_and_white():
    array = random(9, 9) > 127
    np.testing.assert_array_equal(decode(file_of(Image.fromarray(array), "PNG"), 1)[:, :, 0], array * np.uint8(255))


def test_cmyk_is_colour():
    colour = Image.fromarray(smooth(32, 32))
    content = file_of(colour.convert("CMYK"), "JPEG", quality=95)
    decoded = decode(content, 3)
    assert np.abs(decoded.astype(int) - np.asarray(colour)).mean() < 12
    assert decode(content, 4).shape == (32, 32, 4)


@pytest.mark.parametrize(("found", "wanted"), [(3, 5), (1, 4), (4, 3), (2, 1), (5, 3), (3, 2)])
def test_another_number_of_channels_is_refused(found, wanted):
    for item in (random(4, 4, found), npy_of(random(4, 4, found))):
        with pytest.raises(PictureError, match=f"another number of channels \\({found} where {wanted} are wanted\\)"):
            decode(item, wanted)


# --- orientation ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_orientation_is_applied(kind, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    content = file_of(random(5, 7, 3), kind, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    assert expected.shape[:2] == ((7, 5) if orientation > 4 else (5, 7))
    np.testing.assert_array_equal(decode(content, 3), expected)


def test_orientation_of_deep_tiff_and_png():
    array = random(5, 7, 3, dtype=np.uint16)
    turned = np.rot90(array, -1)
    tiff = tiff_of(array, photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    exif = Image.Exif()
    exif[0x0112] = 6
    png = deep_png(array, 2, extra=chunk(b"eXIf", exif.tobytes()[6:]))
    for content in (tiff, png):
        np.testing.assert_array_equal(decode(content, 3), turned)


def test_a_jpeg_from_a_phone_is_upright_also_when_decoded_small():
    exif = Image.Exif()
    exif[0x0112] = 6
    array = smooth(160, 320)
    content = file_of(array, "JPEG", exif=exif, quality=95)
    for at_least in (None, 40):
        decoded = decode(content, 3, at_least=at_least)
        assert decoded.shape[0] > decoded.shape[1]
    expected = np.rot90(array, -1).astype(int)
    assert np.abs(decode(content, 3) - expected).mean() < 2


def test_a_broken_exif_block_does_no_harm():
    content = file_of(smooth(16, 16), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode(content, 3).shape == (16, 16, 3)


# --- large JPEG ----------------------------------------------------------------------------------------------------------


def test_a_large_jpeg_is_decoded_small_but_never_too_small():
    content = file_of(smooth(800, 1000), "JPEG")
    assert decode(content, 3).shape == (800, 1000, 3)
    assert decode(content, 3, at_least=100).shape == (100, 125, 3)
    assert decode(content, 3, at_least=101).shape == (200, 250, 3)
    assert decode(content, 3, at_least=5000).shape == (800, 1000, 3)


def test_what_comes_of_a_photo_hardly_depends_on_how_it_was_decoded():
    array = smooth(800, 1000)
    frontend = ImageFrontend(ImageSettings(size=64))
    whole = frontend.prepare(decode(file_of(array, "JPEG", quality=95), 3)).astype(int)
    assert np.abs(frontend.prepare(file_of(array, "JPEG", quality=95)) - whole).mean() < 1


# --- broken --------------------------------------------------------------------------------------------------------------

SOUND = {
    "JPEG": file_of(smooth(64, 64), "JPEG"),
    "progressive": file_of(smooth(64, 64), "JPEG", progressive=True),
    "PNG": file_of(random(32, 32, 3), "PNG"),
    "deep PNG": deep_png(random(32, 32, 3, dtype=np.uint16), 2),
    "WEBP": file_of(smooth(64, 64), "WEBP"),
    "GIF": file_of(random(32, 32), "GIF"),
    "BMP": file_of(random(32, 32, 3), "BMP"),
    "TIFF": file_of(random(32, 32, 3), "TIFF"),
    "LZW TIFF": file_of(random(32, 32, 3), "TIFF", compression="tiff_lzw"),
    "deep TIFF": tiff_of(random(32, 32, 3, dtype=np.uint16), photometric="rgb"),
    "PPM": file_of(random(32, 32, 3), "PPM"),
    ".npy": npy_of(random(32, 32, 3)),
}


def test_sound_ones_are_read():
    for content in SOUND.values():
        assert decode(content, 3).shape[2] == 3


@pytest.mark.parametrize("share", [0.02, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("kind", SOUND)
def test_a_truncated_file_is_refused(kind, share, tmp_path, capfd, caplog):
    content = SOUND[kind][: int(share * len(SOUND[kind]))]
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(PictureError, match=r"a\.jpg: (cut off|damaged|no picture of a kind)") as caught:
        decode(tmp_path / "a.jpg", 3)
    assert len(str(caught.value).splitlines()) == 1
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "LZW TIFF", "deep TIFF", "deep PNG", ".npy"]
)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_flipped_bytes_give_a_picture_or_a_refusal(kind, data):
    content = bytearray(SOUND[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with suppress(PictureError):
            decoded = decode(bytes(content), 3)
            assert decoded.shape[2] == 3
            assert decoded.size
    assert not [warning for warning in caught if "PIL" in str(warning.filename)]


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"GIF89a", b"\x93NUMPY\x01\0"]),
)
def test_any_bytes_give_one_kind_of_error(rest, start):
    with pytest.raises(PictureError):
        decode(start + rest, 3)


def test_an_empty_file_a_folder_and_nothing(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(PictureError, match=r"empty\.png: empty file"):
        decode(tmp_path / "empty.png", 3)
    with pytest.raises(PictureError, match="cannot be read"):
        decode(tmp_path, 3)
    with pytest.raises(PictureError, match=r"none\.png: cannot be read \(No such file"):
        decode(tmp_path / "none.png", 3)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(PictureError, match="not a regular file"):
        decode(tmp_path / "pipe.png", 3)
    with pytest.raises(PictureError, match="cannot be read"):
        decode("a\0b", 3)


@pytest.mark.parametrize("item", [None, 3, [1, 2], object()])
def test_what_is_no_picture_at_all(item):
    with pytest.raises(DataError, match="pass a path, the bytes of a file, or an array"):
        decode(item, 3)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 5), np.uint8), "has no pixels"),
        (np.zeros((5, 0, 3), np.uint8), "has no pixels"),
        (np.zeros((5, 5, 0), np.uint8), "has no pixels"),
        (np.zeros(5, np.uint8), "no array of"),
        (np.zeros((1, 5, 5, 3), np.uint8), "no array of"),
        (np.zeros((5, 5), np.int64), "use uint8, uint16 or float32"),
        (np.zeros((5, 5), bool), "use uint8, uint16 or float32"),
        (np.zeros((5, 5), complex), "use uint8, uint16 or float32"),
    ],
)
def test_arrays_that_are_no_pictures(array, message):
    for item in (array, npy_of(array)):
        with pytest.raises(PictureError, match=message):
            decode(item, 3)


def huge_png(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def huge_npy(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": kind, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + b"\0" * 100


@pytest.mark.parametrize(
    "content",
    [
        huge_png(10**6, 10**6),
        huge_png(14_000, 14_000),
        huge_npy((10**9, 10**9)),
        huge_npy((10**4, 10**4, 10**4)),
        huge_npy((2, 2, 10**12)),
    ],
    ids=["png", "png just beyond", "npy", "npy of many channels", "npy of few pixels"],
)
def test_a_picture_made_to_fill_the_memory_is_refused_by_its_header(content):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(PictureError, match="too large"):
            decode(content, 3)
    assert not caught


def test_a_header_that_promises_more_than_the_file_holds():
    with pytest.raises(PictureError, match="cut off"):
        decode(huge_npy((10**4, 10**4)), 1)


@pytest.mark.parametrize("change", [(b"), }", b"),)}"), (b"|u1", b"|u9"), (b"(2, 3)", b"(-2,3)"), (b"|u1", b"|V0")])
def test_a_broken_npy_header(change):
    content = npy_of(random(2, 3))
    assert change[0] in content
    with pytest.raises(PictureError):
        decode(content.replace(*change), 1)


def test_an_npy_header_of_python_2_is_read_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(npy_of(random(2, 3)).replace(b"(2, 3)", b"(2L,3)"), 1).shape == (2, 3, 1)


def test_a_large_but_honest_header_does_not_warn(capfd):
    """Pillow warns from 89 million pixels on; this one is then found to be cut off."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PictureError, match=r"cut off|damaged"):
            decode(huge_png(10_000, 10_000), 3)
    assert capfd.readouterr().err == ""


def test_pickled_objects_are_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    buffer = io.BytesIO()
    np.save(buffer, np.array([[Trap()]], dtype=object), allow_pickle=True)
    with pytest.raises(PictureError, match="holds Python objects"):
        decode(buffer.getvalue(), 1)
    with pytest.raises(PictureError):
        decode(pickle.dumps(Trap()), 1)
    assert not (tmp_path / "sprung").exists()


def test_postscript_is_not_run():
    with pytest.raises(PictureError, match="no picture of a kind that is read"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n", 3)


def test_deep_ppm_colour_is_refused_rather_than_cut_to_8_bits():
    content = b"P6 4 4 65535\n" + random(4, 4, 3, dtype=np.uint16).tobytes()
    with pytest.raises(PictureError, match="PPM colour of more than 8 bits"):
        decode(content, 3)


def test_an_error_survives_pickling():
    error = pickle.loads(pickle.dumps(PictureError("cut off", "here", "a.png")))
    assert str(error) == "a.png: cut off (here)"
    assert (error.reason, error.detail, error.name) == ("cut off", "here", "a.png")


def test_threads_leave_the_warnings_filters_as_they_were():
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        barrier = threading.Barrier(8)
        list(pool.map(lambda k: (barrier.wait(), [decode(SOUND["JPEG"], 3) for _ in range(30)]), range(8)))
    assert warnings.filters == before


def without(module: str, code: str) -> str:
    blocked = f"import sys; sys.modules[{module!r}] = None\n"
    run = subprocess.run([sys.executable, "-c", blocked + code], capture_output=True, text=True, check=True)
    return run.stdout


def test_without_pillow_the_extra_is_named():
    code = (
        "from nearfar.frontend.image import decode; from nearfar.errors import MissingExtraError\n"
        "import numpy as np; print(decode(np.zeros((2, 2), np.uint8), 1).shape)\n"
        "try: decode(b'GIF89a', 1)\nexcept MissingExtraError as error: print(error)\n"
    )
    output = without("PIL", code)
    assert output.startswith("(2, 2, 1)")
    assert (
        'reading pictures needs packages that are not installed. Install them with: pip install "nearfar[images]"'
        in output
    )
    assert issubclass(MissingExtraError, Exception)


def test_without_tifffile_the_package_is_named(tmp_path):
    (tmp_path / "deep.tif").write_bytes(SOUND["deep TIFF"])
    (tmp_path / "plain.tif").write_bytes(SOUND["TIFF"])
    code = (
        "from nearfar.frontend.image import decode, PictureError\n"
        f"print(decode({str(tmp_path / 'plain.tif')!r}, 3).shape)\n"
        f"try: decode({str(tmp_path / 'deep.tif')!r}, 3)\nexcept PictureError as error: print(error)\n"
    )
    output = without("tifffile", code)
    assert output.startswith("(32, 32, 3)")
    assert "a TIFF that only the package tifffile may read (pip install tifffile)" in output


# --- size ----------------------------------------------------------------------------------------------------------------


def by_torch(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    planes = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]
    resized = F.interpolate(planes, size=(height, width), mode="bilinear", antialias=True, align_corners=False)
    return resized[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 4, 6])
@pytest.mark.parametrize(
    "shapes", [((50, 70), (32, 32)), ((20, 30), (32, 48)), ((300, 200), (28, 28)), ((1, 9), (4, 4))]
)
def test_resizing_is_that_of_torch_with_antialias(dtype, channels, shapes):
    (height, width), wanted = shapes
    if dtype == np.float32:
        picture = np.random.default_rng(0).random((height, width, channels), dtype=np.float32)
    else:
        picture = random(height, width, channels, dtype=dtype)
    resized = resize(picture, *wanted)
    assert resized.dtype == dtype
    assert resized.shape == (*wanted, channels)
    # uint8 is rounded twice, once for each axis
    tolerance = {np.uint8: 1.01, np.uint16: 0.6, np.float32: 1e-5}[dtype]
    assert np.abs(resized - by_torch(picture, *wanted)).max() <= tolerance


def test_opacity_as_a_channel_does_not_change_the_others():
    picture = random(20, 20, 4)
    picture[:, :, 3] = 0
    np.testing.assert_array_equal(resize(picture, 8, 8)[:, :, :3], resize(picture[:, :, :3], 8, 8))


def test_the_right_size_is_left_alone():
    picture = random(8, 8, 3)
    assert resize(picture, 8, 8) is picture


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 20),
    st.sampled_from(["crop", "squash"]),
    st.sampled_from([1, 3]),
)
def test_any_shape_fits(height, width, size, fit, channels):
    frontend = ImageFrontend(ImageSettings(size=size, channels=channels, fit=fit))
    pixels = frontend.encode([random(height, width, 3), random(height, width, dtype=np.uint16)])
    assert pixels.shape == (2, channels, size, size)
    assert pixels.dtype == np.float32
    assert pixels.min() >= 0
    assert pixels.max() <= 1


def test_crop_keeps_the_middle_and_squash_keeps_all():
    picture = np.zeros((4, 8, 1), np.uint8)
    picture[:, 2:6] = 255
    crop, squash = (
        ImageFrontend(ImageSettings(size=4, channels=1, fit=fit)).encode([picture]) for fit in ("crop", "squash")
    )
    assert (crop == 1).all()
    assert squash[0, 0, 0, 0] < 0.5 < squash[0, 0, 0, 1]


def test_8_and_16_bits_have_one_scale():
    picture = random(6, 6, 3)
    frontend = ImageFrontend(ImageSettings(size=6))
    eight, sixteen = frontend.encode([picture, picture.astype(np.uint16) * 257])
    np.testing.assert_allclose(eight, sixteen, atol=1e-7)
    np.testing.assert_array_equal(eight, torch.from_numpy(picture).float().div(255).permute(2, 0, 1).numpy())
    np.testing.assert_array_equal(scaled(np.full((1, 1, 1), 0.25, np.float32)), 0.25)


def test_the_same_pictures_give_the_same_pixels():
    items = [SOUND["JPEG"], SOUND["deep PNG"], SOUND["GIF"]]
    frontend = ImageFrontend(ImageSettings(size=20))
    np.testing.assert_array_equal(frontend.encode(items), frontend.encode(items))


def test_a_bad_item_is_named(tmp_path):
    frontend = ImageFrontend(ImageSettings(size=4))
    with pytest.raises(PictureError, match=r"^item 1: empty file"):
        frontend.encode([SOUND["PNG"], b""])
    with pytest.raises(PictureError, match=r"none\.png: cannot be read"):
        frontend.encode([tmp_path / "none.png"])


@pytest.mark.parametrize(
    "values", [{"size": 0}, {"size": 10**6}, {"size": 8, "channels": 0}, {"size": 8, "mean": 0.5}, {}]
)
def test_settings_that_make_no_sense(values):
    with pytest.raises(ValidationError):
        ImageSettings(**values)
