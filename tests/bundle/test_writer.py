"""Writing: whatever goes wrong, the bundle that was there is still there, and nothing else is left behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from tests.edge.tiny_bundle import write_tiny_bundle

from nearfar.bundle import Bundle, BundleWriter
from nearfar.bundle import swap as swapping
from nearfar.errors import BundleError

ROOT = Path(__file__).parents[2]


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    """Run a program in another process, with the package and the tests to import."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


HANGING_EXPORT = """
    import sys, time
    from nearfar.bundle import BundleWriter
    with BundleWriter(sys.argv[1]) as writer:
        writer.add("encoder.onnx", b"half")
        print("half", flush=True)
        time.sleep(600)
"""


def test_a_killed_export_leaves_the_old_bundle_and_the_next_one_cleans_up(tmp_path):
    target = tmp_path / "tiny"
    old = write_tiny_bundle(target)
    process = start(HANGING_EXPORT, str(target))
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    parts = list(tmp_path.glob(".tiny.part-*"))
    assert len(parts) == 1
    # While it lives, another export leaves its folder alone.
    write_tiny_bundle(target, seed=1)
    assert parts[0].is_dir()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert Bundle.open(target).manifest == old.manifest
    assert parts[0].is_dir()
    newest = write_tiny_bundle(target, seed=2)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert Bundle.open(target).digest == newest.digest


def test_a_kill_at_any_moment_leaves_a_whole_bundle(tmp_path):
    """A process replaces the bundle again and again and is killed at different moments."""
    target = tmp_path / "tiny"
    digests = {write_tiny_bundle(target, seed=seed).digest for seed in (1, 2)}
    program = """
        import sys, itertools, pathlib
        from tests.edge.tiny_bundle import write_tiny_bundle
        print("ready", flush=True)
        for seed in itertools.cycle((1, 2)):
            write_tiny_bundle(pathlib.Path(sys.argv[1]), seed=seed)
    """
    for delay in (0.02, 0.05, 0.09):
        process = start(program, str(target))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.kill()
        process.communicate()
        assert Bundle.open(target).digest in digests
    write_tiny_bundle(target)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.parametrize("at_once", [True, False])
def test_an_older_bundle_gives_way(tmp_path, monkeypatch, at_once):
    """Both ways of replacing: the exchange of names, and the two renames where the system knows no exchange."""
    if not at_once:
        monkeypatch.setattr(swapping, "_exchange", lambda first, second: False)
    old = write_tiny_bundle(tmp_path / "tiny")
    new = write_tiny_bundle(tmp_path / "tiny", seed=1)
    assert new.digest != old.digest
    assert Bundle.open(tmp_path / "tiny").digest == new.digest
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_death_between_the_two_renames_is_undone_by_the_next_export(tmp_path):
    target = tmp_path / "tiny"
    old = write_tiny_bundle(target)
    target.rename(swapping.aside_of(target))
    with BundleWriter(target):
        assert Bundle.open(target).digest == old.digest
    assert Bundle.open(target).digest == old.digest
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_an_exception_leaves_everything_as_it_was(tmp_path):
    old = write_tiny_bundle(tmp_path / "tiny")

    def interrupted() -> None:
        with BundleWriter(tmp_path / "tiny") as writer:
            writer.add("encoder.onnx", b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert Bundle.open(tmp_path / "tiny").digest == old.digest
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_leaving_without_finish_writes_nothing(tmp_path):
    with BundleWriter(tmp_path / "new") as writer:
        writer.add("encoder.onnx", b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_that_names_a_missing_file_is_caught_before_anything_is_replaced(tmp_path):
    old = write_tiny_bundle(tmp_path / "tiny")

    def incomplete() -> None:
        with BundleWriter(tmp_path / "tiny") as writer:
            writer.add("tokenizer.json", b"{}")
            writer.finish(old.manifest, "card")

    with pytest.raises(BundleError, match=r"names encoder\.onnx, which"):
        incomplete()
    assert Bundle.open(tmp_path / "tiny").digest == old.digest


def test_scratch_files_do_not_ship(tmp_path):
    old = write_tiny_bundle(tmp_path / "tiny")
    with BundleWriter(tmp_path / "copy") as writer:
        for name in ("encoder.onnx", "tokenizer.json"):
            writer.add(name, old.read(name))
        (writer.directory / "scratch").mkdir()
        (writer.directory / "scratch" / "big").write_bytes(b"x")
        copy = writer.finish(old.manifest, (old.path / "card.md").read_text())
    assert copy.digest == old.digest


def test_a_copy_is_the_same_bundle(tmp_path):
    old = write_tiny_bundle(tmp_path / "tiny")
    with BundleWriter(tmp_path / "index" / "bundle") as writer:
        copy = writer.copy(old)
    assert copy.digest == old.digest
    assert Bundle.open(tmp_path / "index" / "bundle").digest == old.digest


@pytest.mark.parametrize("name", ["SHA256SUMS", "encoder.onnx"])
def test_a_bundle_that_changed_since_it_was_opened_is_not_copied(tmp_path, name):
    old = write_tiny_bundle(tmp_path / "tiny")
    (old.path / name).write_bytes(b"")
    with BundleWriter(tmp_path / "copy") as writer, pytest.raises(BundleError, match=f"{name}: altered"):
        writer.copy(old)
    assert not (tmp_path / "copy").exists()


def test_what_is_no_bundle_is_not_overwritten(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_bytes(b"x")
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    for name in ("photos", "file", "link"):
        with pytest.raises(BundleError, match=r"give another place \(-o\)"):
            write_tiny_bundle(tmp_path / name)
    assert (tmp_path / "photos" / "me.jpg").read_bytes() == b"x"
    (tmp_path / "empty").mkdir()
    assert write_tiny_bundle(tmp_path / "empty").manifest.name == "tiny"


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/b", "..\\out", "", "manifest.json", "twice"])
def test_a_name_that_is_unsafe_or_taken_is_refused(tmp_path, name):
    with BundleWriter(tmp_path / "new") as writer:
        writer.add("twice", b"x")
        with pytest.raises(BundleError, match=r"unsafe file name|is written twice"):
            writer.add(name, b"x")
    assert list(tmp_path.iterdir()) == []


def test_parents_are_made(tmp_path):
    assert write_tiny_bundle(tmp_path / "a" / "b" / "tiny").path == tmp_path / "a" / "b" / "tiny"


FULL_DISK_EXPORT = """
    import sys, pathlib
    from nearfar.bundle import BundleWriter
    from nearfar.errors import BundleError
    try:
        with BundleWriter(sys.argv[1]) as writer:
            writer.add("small.bin", b"x" * 1000)
            writer.add("encoder.onnx", b"x" * 2_000_000)
    except BundleError as error:
        print(error)
"""


def check_full_disk(target: Path, before: str, message: str) -> None:
    assert "no space for the bundle" in message
    assert "encoder.onnx needs 2,000,000 bytes on top of 1,000 already written" in message
    assert f"the bundle already at {target} is untouched" in message
    assert Bundle.open(target).digest == before
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_full_disk(tmp_path):
    """A real one: a file system of 256 KiB in memory, for those who may mount it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting needs root; the limit on file size below covers the same path")
    try:
        before = write_tiny_bundle(disk / "tiny").digest
        message, _ = start(FULL_DISK_EXPORT, str(disk / "tiny")).communicate()
        check_full_disk(disk / "tiny", before, message)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_file_that_may_not_grow(tmp_path):
    """The same for everybody: the system refuses to let a file grow beyond 1 MB."""
    before = write_tiny_bundle(tmp_path / "tiny").digest
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, {resource.RLIM_INFINITY}))\n"
    message, _ = start(limited + textwrap.dedent(FULL_DISK_EXPORT), str(tmp_path / "tiny")).communicate()
    check_full_disk(tmp_path / "tiny", before, message)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(BundleError, match="cannot write the bundle"):
        write_tiny_bundle(tmp_path / "file" / "tiny")


def test_the_creation_time_can_be_fixed(monkeypatch, tmp_path):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    manifest = write_tiny_bundle(tmp_path / "tiny").manifest
    fields = manifest.model_dump(exclude={"created"}, mode="python")
    assert type(manifest).model_validate(fields).created.isoformat() == "1970-01-02T00:00:00+00:00"
