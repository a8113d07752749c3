"""Which parser reads which file: the one table that training and searching share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nearfar.sources.code import parse_code
from nearfar.sources.hypertext import parse_hypertext
from nearfar.sources.markdown import parse_markdown
from nearfar.sources.pdf import parse_pdf
from nearfar.sources.plain import decode, read_bytes
from nearfar.sources.python_code import parse_python
from nearfar.sources.restructured import parse_restructured
from nearfar.sources.sections import Parsed, Section
from nearfar.sources.word import parse_word

TEXT_SUFFIXES = (".md", ".txt", ".rst", ".html", ".htm")
OFFICE_SUFFIXES = (".pdf", ".docx")
CODE_SUFFIXES = (
    *(".py", ".pyi", ".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx", ".java", ".kt", ".scala", ".swift", ".cs", ".go"),
    *(".rs", ".c", ".h", ".cc", ".cpp", ".hpp", ".cu", ".rb", ".php", ".lua", ".jl", ".sh", ".bash", ".sql", ".proto"),
    *(".toml", ".yaml", ".yml", ".ini", ".cfg"),
)

_TITLE_CHARS = 100


def parse_plain(text: str) -> Parsed:
    """Take a text without markup as one section; a short first line is its title."""
    lead = len(text) - len(text.lstrip())
    first, _, rest = text[lead:].partition("\n")
    line = text.count("\n", 0, lead) + 1
    if rest.strip() and len(first) <= _TITLE_CHARS:
        return Parsed(first.strip(), [Section(first.strip(), rest, line + 1, heading_line=line)])
    return Parsed("", [Section("", text[lead:], line)])


_OF_TEXT: dict[str, Callable[[str], Parsed]] = {
    **dict.fromkeys(CODE_SUFFIXES, parse_code),
    ".py": parse_python,
    ".pyi": parse_python,
    ".md": parse_markdown,
    ".markdown": parse_markdown,
    ".rst": parse_restructured,
    ".html": parse_hypertext,
    ".htm": parse_hypertext,
    ".xhtml": parse_hypertext,
}
_OF_BYTES: dict[str, Callable[[bytes], Parsed]] = {".pdf": parse_pdf, ".docx": parse_word}


def read_file(path: Path, max_bytes: int) -> Parsed:
    """Read a file and take it apart as its suffix says; one of an unknown kind is taken for plain text.

    Args:
        path: a regular file.
        max_bytes: larger files are refused.

    Raises:
        UnreadableError: it holds no text that can be used.
        MissingExtraError: packages are missing for its format.
    """
    data = read_bytes(path, max_bytes)
    suffix = path.suffix.lower()
    if suffix in _OF_BYTES:
        return _OF_BYTES[suffix](data)
    return _OF_TEXT.get(suffix, parse_plain)(decode(data))
