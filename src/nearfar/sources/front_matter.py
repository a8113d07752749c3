"""What the YAML front matter of a Markdown file says of it: scalars and lists of scalars."""

from __future__ import annotations

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


def metadata_of(front_matter: str) -> dict[str, Scalar | tuple[Scalar, ...]]:
    """Return name -> value or values; nested mappings are left out, and so is everything where it is not YAML.

    Args:
        front_matter: the lines between the marks.
    """
    if len(front_matter) > _MAX_CHARS:
        return {}
    try:
        found = yaml.load(front_matter, _Reader)
        return plain_values(found) if isinstance(found, dict) else {}
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: a date such as 2020-13-45
        return {}
