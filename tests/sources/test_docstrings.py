from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import DataError
from nearfar.sources import DocstringsSource, Document
from nearfar.sources.docstring_parser import MAX_FILE_BYTES, read_docstrings
from nearfar.sources.docstring_workers import _Worker, parse_files

SOURCE_ROOT = Path(__file__).parents[2] / "src"

NESTED = '''"""The module."""
try:
    import fast
except ImportError:
    def fallback():
        """Inside except."""
else:
    if True:
        class Outer:
            """Inside if."""
            with open("x") as f:
                async def method(self):
                    """
                    First line.

                        Indented.
                    """
                    def inner():
                        """Inside a method."""
match 1:
    case 1:
        def chosen():
            """Inside match."""
def silent():
    pass
'''


def read(path: Path, **options: int) -> tuple[list[Document], DocstringsSource]:
    source = DocstringsSource([path], workers=0, **options)
    return list(source.documents()), source


def package(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def test_docstrings_in_every_kind_of_block_are_found(tmp_path: Path) -> None:
    documents, source = read(package(tmp_path, {"pkg/__init__.py": "", "pkg/deep/mod.py": NESTED}))
    assert [d.id for d in documents] == [
        "pkg.deep.mod",
        "pkg.deep.mod.fallback",
        "pkg.deep.mod.Outer",
        "pkg.deep.mod.Outer.method",
        "pkg.deep.mod.Outer.method.inner",
        "pkg.deep.mod.chosen",
    ]
    method = documents[3]
    assert method.text == "First line.\n\n    Indented."
    assert method.location == f"{tmp_path}/pkg/deep/mod.py:12"
    assert (method.group, method.parent_title, method.title) == ("pkg", "pkg.deep.mod", method.id)
    assert source.report.read == 6
    assert source.report.skipped_total == 0


def test_names_start_at_the_package_wherever_the_path_points(tmp_path: Path) -> None:
    files = {"a/__init__.py": "", "a/b/__init__.py": "'''B.'''", "a/b/c.py": "'''C.'''"}
    package(tmp_path, files)
    assert [d.id for d in read(tmp_path / "a" / "b")[0]] == ["a.b", "a.b.c"]
    assert [d.id for d in read(tmp_path / "a" / "b" / "c.py")[0]] == ["a.b.c"]


def test_identical_texts_come_once_and_repeated_names_are_told_apart(tmp_path: Path) -> None:
    code = 'def f():\n    """One."""\ndef f():\n    """Two."""\nclass g:\n    """One."""\n'
    documents, source = read(package(tmp_path, {"m.py": code, "m/__init__.py": "def f():\n    '''Three.'''"}))
    assert [(d.id, d.title) for d in documents] == [("m.f", "m.f"), ("m.f#2", "m.f"), ("m.f#3", "m.f")]
    assert sorted(d.text for d in documents) == ["One.", "Three.", "Two."]
    assert source.report.repeated == 1


def test_files_that_cannot_be_used_are_reported(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "good.py": "'''Good.'''",
        "empty.py": b"",
        "syntax.py": "def (:\n",
        "nul.py": b"'''x'''\0",
        "binary.py": bytes(range(128, 256)),
        "large.py": b"#" * (MAX_FILE_BYTES + 1),
        "deep.py": "(" * 5000 + ")" * 5000,
        "latin.py": "# coding: latin-1\n'''Gr\u00fcn.'''".encode("latin-1"),
        "bom.py": b"\xef\xbb\xbf'''Marked.'''\r\n",
        "surrogate.py": "'''Half \\ud800.'''",
        "warns.py": "'''An invalid \\d escape.'''",
        ".hidden/x.py": "'''Hidden.'''",
        "__pycache__/x.py": "'''Cached.'''",
    }
    documents, source = read(package(tmp_path, files))
    assert {d.text for d in documents} == {"Good.", "Gr\u00fcn.", "Marked.", "Half \ufffd.", "An invalid \\d escape."}
    assert source.report.skipped == {"not valid Python": 4, "Python file over 2 MB": 1}
    assert f"{tmp_path}/syntax.py: not valid Python (line 1: invalid syntax)" in source.report.examples


def test_a_long_elif_chain_does_not_exhaust_the_stack(tmp_path: Path) -> None:
    chain = "if x:\n    pass\n" + "elif x:\n    pass\n" * 60 + "else:\n    def f():\n        '''Last.'''\n"
    assert [d.text for d in read(package(tmp_path, {"m.py": chain}))[0]] == ["Last."]


def test_limit_files_spreads_over_the_sorted_list(tmp_path: Path) -> None:
    package(tmp_path, {f"m{i:02}.py": f"'''Number {i}.'''" for i in range(20)})
    assert [d.id for d in read(tmp_path, limit_files=4)[0]] == ["m00", "m05", "m10", "m15"]
    assert len(read(tmp_path, limit_files=100)[0]) == 20
    with pytest.raises(DataError, match="limit_files is 0"):
        DocstringsSource(limit_files=0)


def test_paths_without_docstrings_are_an_error_that_names_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no \.py files"):
        read(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match=r"not a \.py file"):
        read(tmp_path / "a.txt")
    (tmp_path / "a.py").write_text("x = 1")
    with pytest.raises(DataError, match="no file there has a docstring"):
        read(tmp_path)


def test_the_same_folder_twice_changes_nothing(tmp_path: Path) -> None:
    package(tmp_path, {f"m{i}.py": f"'''Number {i}.'''" for i in range(40)})
    once = list(DocstringsSource([tmp_path], workers=2).documents())
    twice = DocstringsSource([tmp_path, tmp_path], workers=2)
    assert list(twice.documents()) == once
    assert twice.report.repeated == 40


def test_workers_and_this_process_agree_and_keep_the_order() -> None:
    folder = Path(os.__file__).parent / "json"
    here = list(DocstringsSource([folder], workers=0).documents())
    source = DocstringsSource([folder], workers=2)
    assert list(source.documents()) == here
    assert list(source.documents()) == here  # a second call starts again
    assert source.report.read == len(here) > 10


CRASHING = """
import os, sys
from nearfar.sources import docstring_parser
read = docstring_parser.read_docstrings
docstring_parser.read_docstrings = lambda path: os.abort() if path.endswith("m2.py") else read(path)
docstring_parser._serve()
"""


def test_a_file_that_crashes_the_parser_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, {f"m{i}.py": f"'''Number {i}.'''" for i in range(5)})
    monkeypatch.setenv("PYTHONPATH", str(SOURCE_ROOT))
    worker = _Worker([sys.executable, "-c", CRASHING])
    try:
        answers = worker.parse([str(tmp_path / f"m{i}.py") for i in range(5)])
    finally:
        worker.stop()
    assert answers[2] == "the parser process ended over it"
    assert [answer[0][2] for i, answer in enumerate(answers) if i != 2] == [
        "Number 0.",
        "Number 1.",
        "Number 3.",
        "Number 4.",
    ]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for child processes in /proc")
def test_killed_workers_are_started_again(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"m{i}.py") for i in range(400)]
    package(tmp_path, {f"m{i}.py": f"'''Number {i}.'''" for i in range(400)})
    before = set(children_of(os.getpid()))
    answers = parse_files(paths, workers=2)
    texts = [next(answers)[1][0][2]]
    for pid in set(children_of(os.getpid())) - before:
        os.kill(pid, signal.SIGKILL)
    texts += [answer[0][2] for _, answer in answers]
    assert texts == [f"Number {i}." for i in range(400)]
    assert set(children_of(os.getpid())) == before


SCRIPT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it, in the background say
import os, sys
sys.path.insert(0, {source!r})
from pathlib import Path
from nearfar.sources import DocstringsSource
print("run", os.getpid(), flush=True)
for i, document in enumerate(DocstringsSource([Path(os.__file__).parent], workers=2).documents()):
    if i == 20:
        print("ready", flush=True)
        {then}
"""


def children_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(entry.parent.name))
    return found


def run_script(tmp_path: Path, then: str) -> subprocess.Popen[str]:
    script = tmp_path / "unguarded.py"
    script.write_text(SCRIPT.format(source=str(SOURCE_ROOT), then=then))
    return subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_script_without_a_main_guard_may_stop_half_way(tmp_path: Path) -> None:
    process = run_script(tmp_path, "break")
    output, errors = process.communicate(timeout=60)
    assert output.count("run") == 1
    assert (process.returncode, errors) == (0, "")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for child processes in /proc")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_reader_leaves_no_worker_behind(tmp_path: Path, sent: signal.Signals) -> None:
    process = run_script(tmp_path, "import time; time.sleep(60)")
    assert process.stdout is not None
    process.stdout.readline()
    assert process.stdout.readline() == "ready\n"
    workers = children_of(process.pid)
    assert len(workers) == 2
    if sent == signal.SIGINT:
        os.killpg(process.pid, sent)  # as a terminal does: to the reader and its workers
    else:
        process.kill()
    _, errors = process.communicate(timeout=60)
    assert errors.count("Traceback") == (1 if sent == signal.SIGINT else 0)  # the script's own
    for _ in range(200):
        if not any(Path(f"/proc/{pid}").exists() for pid in workers):
            return
        time.sleep(0.05)
    pytest.fail("a worker is still there")


def test_without_processes_the_files_are_read_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, {"m.py": "'''Read.'''"})
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    assert [d.text for d in DocstringsSource([tmp_path], workers=2).documents()] == ["Read."]
    (tmp_path / "not-python").write_text("#!/bin/sh\necho hello\n")
    (tmp_path / "not-python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "not-python"))
    assert [d.text for d in DocstringsSource([tmp_path], workers=2).documents()] == ["Read."]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_docstrings_or_a_reason(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.py"
    path.write_bytes(data)
    answer = read_docstrings(str(path))
    assert isinstance(answer, (list, str))
    assert answer != ""
