"""Source code of any language cut at its outermost declarations, found by how code is laid out rather than by its grammar."""

from __future__ import annotations

import re

from nearfar.sources.sections import Parsed, Section

_MAX_LINE_CHARS = 1_000
"""Longer lines are generated; no declaration is looked for in them."""

_FEW_LINES = 4

_MODIFIERS = (
    r"(?:(?:export|default|declare|public|private|protected|internal|static|final|abstract|sealed|partial|async|unsafe|"
    r"extern|inline|const|constexpr|virtual|override|open|data|pub(?:\([\w:]+\))?|local)\s+)*"
)
_KINDS = (
    r"(?:enum\s+(?:class|struct)|class|struct|interface|enum|trait|union|record|object|protocol|module|type|typedef|macro_rules!|"
    r"function\*?|func|fun|fn|def|defn|sub|proc|mod|impl(?:<[^>]*>)?|message|service)"
)
_DECLARATIONS = (
    # class Name, class EXPORTED_BY_A_MACRO Name, func (receiver) Name, impl Trait for Name
    re.compile(
        _MODIFIERS
        + _KINDS
        + r"\s+(?:\([^)]*\)\s*)?(?:[A-Z][A-Z0-9_]+\s+)?(?P<name>[\w$:.]+(?:<[^>{]*>)?(?:\s+for\s+[\w:<>]+)?)"
    ),
    # const name = (...) =>, name = function
    re.compile(_MODIFIERS + r"(?:let|var|const)\s+(?P<name>[\w$]+)[^=]*=\s*(?:async\s+)?(?:function\b|\(|[\w$]+\s*=>)"),
    # CREATE TABLE name
    re.compile(
        r"(?i:create\s+(?:or\s+replace\s+)?(?:temp(?:orary)?\s+|unique\s+|materialized\s+)*"
        r"(?:table|view|index|function|procedure|trigger|type|schema)\s+(?:if\s+not\s+exists\s+)?)(?P<name>[\w.\"`]+)"
    ),
    # [section] of TOML and INI
    re.compile(r"\[{1,2}(?P<name>[\w.\-\"' :/]+)\]{1,2}\s*(?:[#;].*)?$"),
    # name() { of shells
    re.compile(r"(?P<name>[\w-]+)\s*\(\)\s*\{?\s*$"),
    # return type, name and arguments of C and its kin; neither a call nor a prototype, which end in a semicolon
    re.compile(
        r"(?!(?:return|else|if|for|while|switch|case|goto|new|throw)\b)[A-Za-z_][\w:<>,*&\s\[\]~]{0,200}?[\s*&](?P<name>[\w:~]+)\s*\([^;]*$"
    ),
    # key: of YAML with something below it
    re.compile(r"(?P<name>[A-Za-z_][\w.-]*):\s*(?:#.*)?$"),
)
_END = re.compile(r"[})\]][(){}\[\];,\s]*(?://.*|#.*)?$|end;?\s*(?:#.*)?$")
_ABOVE = ("//", "/*", "*", " *", "#", "--", ";", "@", '"""')


def parse_code(text: str) -> Parsed:
    """Cut code at the declarations that begin at the left edge, each with the comments and attributes right above it.

    What lies further in (methods, blocks) stays with its declaration. Declarations of a line or two go together. Where none is
    found, the file is one section.
    """
    lines = text.split("\n")
    starts: dict[int, str] = {0: ""}
    ended = False  # whether the last line that is not blank ended a declaration
    for index, line in enumerate(lines):
        if not line.strip():
            continue
        after, ended = ended, bool(_END.match(line))
        if line[0].isspace() or ended:
            continue
        name = _declared(line) if len(line) <= _MAX_LINE_CHARS else ""
        if name or after:
            first = index
            while first and lines[first - 1].startswith(_ABOVE) and first - 1 not in starts:
                first -= 1
            starts[first] = name or starts.get(first, "")
    places = sorted(starts)
    sections = []
    names: list[str] = []
    first = 0
    for begin, end in zip(places, [*places[1:], len(lines)], strict=True):
        if starts[begin]:
            names.append(starts[begin])
        body = "\n".join(lines[first:end])
        if end < len(lines) and len(body.split("\n")) < _FEW_LINES:
            continue
        if body.strip():
            sections.append(Section(", ".join(names), body, first + 1, named_in_body=True))
        names, first = [], end
    return Parsed("", sections)


def _declared(line: str) -> str:
    """Return the name that a line declares, or an empty string."""
    for declaration in _DECLARATIONS:
        if found := declaration.match(line):
            return " ".join(found["name"].split()).strip("\"'`")
    return ""
