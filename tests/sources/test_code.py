from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.sources.code import parse_code
from nearfar.sources.python_code import parse_python

PYTHON = '''\
"""About the module."""

import os

# Above the class.
@decorated(
    1)
class Box:
    """A box."""

    size = 3

    # Above the method.
    def open(self):
        def inner():
            pass
        return inner

    async def shut(self): ...


LEFT = 1


def free(): pass
'''


def headings(text: str) -> list[str]:
    return [section.heading for section in parse_code(text).sections]


def test_python_is_cut_at_classes_and_functions() -> None:
    sections = parse_python(PYTHON).sections
    assert [(s.heading, s.line) for s in sections] == [
        ("", 1),
        ("Box", 5),
        ("Box.open", 13),
        ("Box.shut", 19),
        ("", 20),
        ("free", 25),
    ]
    assert sections[1].body.startswith("# Above the class.\n@decorated(\n    1)\nclass Box:")
    assert "inner" in sections[2].body
    assert sections[4].body.strip() == "LEFT = 1"


def test_every_line_of_python_is_in_one_section() -> None:
    lines = [line for section in parse_python(PYTHON).sections for line in section.body.split("\n") if line.strip()]
    assert lines == [line for line in PYTHON.split("\n") if line.strip()]


def test_what_is_not_python_is_cut_as_code() -> None:
    found = parse_python("print 'old'\nprint 'older'\n\n\ndef f():\n    x = 1\n    y = 2\n    return x\n")
    assert [s.heading for s in found.sections] == ["", "f"]
    assert parse_python("(" * 5000).sections
    assert parse_python("x = 1\n" * 400_000).sections  # over the limit of the syntax tree


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("export default class Box extends Base {", "Box"),
        ("export async function load(path) {", "load"),
        ("const load = async (path) => {", "load"),
        ("public sealed class Box : Base", "Box"),
        ("func (b *Box) Open(path string) error {", "Open"),
        ("type Box struct {", "Box"),
        ("pub(crate) fn open<T>(path: &T) -> Result<()> {", "open<T>"),
        ("impl<T> Display for Box<T> {", "Display for Box<T>"),
        ("enum class Kind {", "Kind"),
        ("struct TORCH_API Box {", "Box"),
        ("static int open_box(const char *path, int flags)", "open_box"),
        ("std::string Box::name() const {", "Box::name"),
        ("def open(path)", "open"),
        ("CREATE TABLE IF NOT EXISTS boxes (", "boxes"),
        ("[tool.ruff]", "tool.ruff"),
        ("deploy() {", "deploy"),
        ("services:", "services"),
        ("return open(path)", ""),
        ("int open_box(const char *path);", ""),
        ("x = open(path)", ""),
    ],
)
def test_declarations_at_the_left_edge_are_headings(line: str, name: str) -> None:
    text = f"first\n\n\n\n// about it\n{line}\n  a\n  b\n  c\n"
    assert headings(text) == (["", name] if name else [""])
    if name:
        assert parse_code(text).sections[1].line == 5


def test_declarations_of_a_line_go_together() -> None:
    assert headings("type A = int\ntype B = int\ntype C = int\ntype D = int\n") == ["A, B, C, D"]


def test_what_follows_a_declaration_is_not_part_of_it() -> None:
    text = "function f() {\n  a\n  b\n}\n\n// go\n(function run() {\n  c\n  d\n})();\n\nclass A {\n  e\n  f\n}\n"
    assert [(s.heading, s.line) for s in parse_code(text).sections] == [("f", 1), ("", 6), ("A", 12)]


CODE = st.lists(
    st.sampled_from(
        ["class A {", "def f():", "    pass", "# c", "// d", "}", "x = 1", "", '"""', "@a", "[b]", "\f", "async"]
    ),
    max_size=30,
).map("\n".join)


@settings(max_examples=200, deadline=None)
@given(CODE)
@pytest.mark.parametrize("parser", [parse_code, parse_python])
def test_no_line_of_code_is_lost_or_read_twice(parser, text: str) -> None:  # type: ignore[no-untyped-def]
    sections = parser(text).sections
    lines = text.split("\n")
    found = [line for section in sections for line in section.body.split("\n") if line.strip()]
    assert found == [line for line in lines if line.strip()]
    for section in sections:
        body = section.body.split("\n")
        assert lines[section.line - 1 : section.line - 1 + len(body)] == body
