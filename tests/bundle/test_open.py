"""Opening: a good bundle opens, and every kind of bad one is refused with the file's name."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from tests.edge.tiny_bundle import write_tiny_bundle

from nearfar.bundle import Bundle, describe, render_card
from nearfar.errors import BundleError

FILES = ("SHA256SUMS", "card.md", "encoder.onnx", "manifest.json", "tokenizer.json")


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("good") / "tiny").path


@pytest.fixture
def copy(good, tmp_path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "copy"))


def reseal(directory: Path) -> None:
    """What an attacker does after a change: digests that fit again."""
    names = sorted(path.name for path in directory.iterdir() if path.name != "SHA256SUMS")
    lines = (f"{hashlib.sha256((directory / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    (directory / "SHA256SUMS").write_text("".join(lines))


def change_manifest(directory: Path, **changes: object) -> None:
    path = directory / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    reseal(directory)


def test_a_run_is_told_from_its_bundle(good, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("recipe.yaml", "fit.json"):
        (run / name).touch()
    with pytest.raises(BundleError, match=r"is a run without a bundle: make one with nearfar export .*run"):
        Bundle.open(run)
    shutil.copytree(good, run / "bundle")
    with pytest.raises(BundleError, match=r"is a run, and its bundle is a directory in it: give .*run/bundle"):
        Bundle.open(run)


def test_a_good_bundle_opens(good):
    bundle = Bundle.open(good)
    assert sorted(path.name for path in good.iterdir()) == sorted(FILES)
    assert bundle.manifest.dim == 32
    assert bundle.size_bytes == sum(path.stat().st_size for path in good.iterdir())
    assert bundle.digest == hashlib.sha256((good / "SHA256SUMS").read_bytes()).hexdigest()
    assert bundle.read("encoder.onnx") == (good / "encoder.onnx").read_bytes()


def test_sha256sum_agrees(good):
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum on this system")
    assert os.system(f"cd {good} && sha256sum --quiet -c SHA256SUMS") == 0


def test_the_same_arguments_give_the_same_bytes(good, tmp_path):
    assert write_tiny_bundle(tmp_path / "again").digest == Bundle.open(good).digest
    assert write_tiny_bundle(tmp_path / "other", seed=1).digest != Bundle.open(good).digest


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(copy, name, verify):
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name}: is missing"):
        Bundle.open(copy, verify=verify)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_a_flipped_bit_is_found(copy, name, place):
    content = bytearray((copy / name).read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError) as caught:
        Bundle.open(copy)
    if name != "SHA256SUMS":  # a changed digest blames the file it belongs to, a changed name the missing file
        assert name in str(caught.value)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("lost", [1, 7])
def test_a_truncated_file_is_found(copy, name, lost):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-lost])
    with pytest.raises(BundleError, match=name):
        Bundle.open(copy)


def test_what_is_read_later_is_compared_again(copy):
    bundle = Bundle.open(copy)
    (copy / "encoder.onnx").write_bytes(b"other")
    with pytest.raises(BundleError, match=r"encoder\.onnx: altered"):
        bundle.read("encoder.onnx")
    assert Bundle.open(copy, verify=False).manifest == bundle.manifest
    with pytest.raises(BundleError, match=r"has no file '\.\./secret'"):
        bundle.read("../secret")


def test_an_extra_file_is_named(copy):
    (copy / "run_me.py").write_text("print('hello')")
    with pytest.raises(BundleError, match=r"holds run_me\.py, which SHA256SUMS does not list"):
        Bundle.open(copy)


def test_what_a_file_manager_leaves_does_no_harm(copy):
    (copy / ".DS_Store").write_bytes(b"x")
    assert Bundle.open(copy).manifest.name == "tiny"


def test_a_newer_format_asks_for_an_upgrade_even_with_unknown_keys(copy):
    change_manifest(copy, format=2, something_new=True)
    with pytest.raises(BundleError, match=r"format 2 is newer than this nearfar reads \(1\): upgrade"):
        Bundle.open(copy)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"format": ' + b"9" * 6000 + b"}",
        b'{"format": true}',
        b"{}",
    ],
    ids=["empty", "cut", "null", "list", "binary", "deep", "huge number", "bool", "no format"],
)
def test_a_manifest_that_is_none(copy, content):
    (copy / "manifest.json").write_bytes(content)
    reseal(copy)
    with pytest.raises(BundleError, match=r"manifest\.json: not "):
        Bundle.open(copy)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"dim": "32"}, "dim"),
        ({"dim": 0}, "dim"),
        ({"dims": [64]}, r"below dim \(32\)"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"towers": {"query": {"graph": "encoder.onnx"}}}, "query and document"),
        ({"similarity": "angle"}, "similarity"),
        ({"similarity": "dot"}, "similarity dot is of kind recommender"),
        ({"frontend": {"kind": "text"}}, r"frontend\.max_query_tokens"),
        ({"fusion": {"features": ["dense"], "weights": [1.0, 2.0]}}, "one weight a feature"),
        ({"created": "yesterday"}, "created"),
        ({"towers": {side: {"graph": "other.onnx"} for side in ("query", "document")}}, r"names other\.onnx"),
    ],
)
def test_a_manifest_of_the_wrong_shape_names_the_key(copy, changes, names):
    change_manifest(copy, **changes)
    with pytest.raises(BundleError, match=rf"manifest\.json: .*{names}"):
        Bundle.open(copy)


def test_a_huge_manifest_is_not_read(copy):
    with (copy / "manifest.json").open("r+b") as file:
        file.truncate(2**40)  # sparse: a tebibyte that takes no space, and would not fit in memory
    with pytest.raises(BundleError, match=r"manifest\.json: 1,099,511,627,776 bytes, more than"):
        Bundle.open(copy)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "..\\secret", "C:\\secret", "sub/file", "..", ".hidden", "a\u202eb", "x" * 300]
)
def test_a_name_that_leads_elsewhere_is_refused(copy, name):
    with (copy / "SHA256SUMS").open("a") as file:
        file.write(f"{'0' * 64}  {name}\n")
    with pytest.raises(BundleError, match="SHA256SUMS:5: unsafe file name"):
        Bundle.open(copy)


@pytest.mark.parametrize("name", ["../secret.onnx", "/etc/passwd", "..\\secret.onnx"])
def test_a_graph_that_lies_elsewhere_is_refused(copy, name):
    change_manifest(copy, towers={side: {"graph": name} for side in ("query", "document")})
    with pytest.raises(BundleError, match=r"manifest\.json: towers\.query\.graph"):
        Bundle.open(copy)


def test_a_link_out_of_the_bundle_is_refused(copy, tmp_path):
    outside = tmp_path / "secret.onnx"
    (copy / "encoder.onnx").rename(outside)
    (copy / "encoder.onnx").symlink_to(outside)
    with pytest.raises(BundleError, match=r"encoder\.onnx: is a link out of the bundle"):
        Bundle.open(copy)


def test_a_link_to_itself_is_refused(copy):
    (copy / "card.md").unlink()
    (copy / "card.md").symlink_to("card.md")
    with pytest.raises(BundleError, match=r"card\.md"):
        Bundle.open(copy)


def test_a_pipe_does_not_hang(copy):
    (copy / "card.md").unlink()
    os.mkfifo(copy / "card.md")
    with pytest.raises(BundleError, match=r"card\.md: is not a regular file"):
        Bundle.open(copy)


def test_a_bundle_behind_a_link_opens(copy, tmp_path):
    (tmp_path / "latest").symlink_to(copy)
    assert Bundle.open(tmp_path / "latest").manifest.name == "tiny"


def test_a_place_without_a_bundle(copy, tmp_path):
    with pytest.raises(BundleError, match="there is no such bundle"):
        Bundle.open(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="is a file, not a bundle directory"):
        Bundle.open(copy / "card.md")


def test_the_card_sets_the_lines_side_by_side_in_order(good):
    manifest = Bundle.open(good).manifest
    card = render_card(manifest)
    assert (good / "card.md").read_text() == card
    rows = [line for line in card.splitlines() if line.startswith("| ")]
    assert rows[0] == "| | ndcg_at_10 | recall_at_1 |"
    assert [row.split("|")[1].strip().split()[0] for row in rows[1:]] == ["BM25", "trained", "**this"]
    assert rows[1].split("|")[2].strip() == "0.3 [0.25, 0.35]"
    assert manifest.provenance.data_fingerprint in card


def test_the_card_stays_whole_with_hostile_text(good):
    manifest = Bundle.open(good).manifest
    provenance = manifest.provenance.model_copy(update={"recipe": {"description": "```\n# Not a heading\n````"}})
    card = render_card(manifest.model_copy(update={"provenance": provenance, "metrics": {}, "name": "a\n# b"}))
    assert [line for line in card.splitlines() if line.startswith("# ")] == ["# a # b"]
    assert card.rstrip().endswith("`````")
    assert "Nothing was measured" in card


def test_describe_tells_what_it_is(good):
    rows = dict(describe(Bundle.open(good)))
    assert rows["dimensions"] == "32, 16"
    assert rows["digest"] == Bundle.open(good).digest
    assert rows["data: training pairs"] == "8,000"
    assert rows["size"].endswith(f"in {len(list(Bundle.open(good).path.iterdir()))} files")
    assert "made with" in rows
