"""What the YAML front matter of a Markdown file says of it: scalars and lists of scalars."""

from __future__ import annotations

from typing import Any

import yaml

from nearfar.sources.document import Scalar
from nearfar.sources.metadata import plain_values

_MAX_CHARS = 20_000


class _Reader(yaml.SafeLoader):
    """Safe YAML without aliases: a few lines of them can stand for more than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read here")
        return super().compose_node(parent, index)


def _date_or_text(reader: _Reader, node: yaml.ScalarNode) -> Any:
    """A date, or as it is written what only looks like one (2020-13-45)."""
    try:
        return reader.construct_yaml_timestamp(node)
    except ValueError:
        return reader.construct_yaml_str(node)


_Reader.add_constructor("tag:yaml.org,2002:timestamp", _date_or_text)


def metadata_of(front_matter: str) -> dict[str, Scalar | tuple[Scalar, ...]] | None:
    """Return name -> value or values, nested mappings left out; None where it cannot be read.

    Args:
        front_matter: the lines between the marks.
    """
    if len(front_matter) > _MAX_CHARS:
        return None
    try:
        found = yaml.load(front_matter, _Reader)
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: a number of thousands of digits
        return None
    return plain_values(found) if isinstance(found, dict) else {}
