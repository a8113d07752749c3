"""The page that documents every key of a recipe, made from the schema so that it cannot fall behind."""

from __future__ import annotations

import json
from collections.abc import Iterator

from nearfar.recipe.located import show_path
from nearfar.recipe.schema_tree import ANY_ITEM, Block, Node

EXAMPLE = """\
name: notes
data:
  source: {kind: folder, path: ../notes}
  pairings:
    - kind: heading_section
    - kind: spans
      max_tokens: 16
encoder:
  kind: static
  dim: 256
method:
  kind: dual_encoder
  matryoshka: [64, 128]
"""

_OPENING = f"""\
<!-- Made by `nearfar recipe reference` from the schema; edit the docstrings in nearfar/recipe/ (schema.py, data.py, negatives.py) instead. -->

# Recipe reference

A recipe is one YAML file that describes a whole run. `name`, `data` and `encoder` must be written; everything else has a
default.

```yaml
{EXAMPLE}```

`nearfar recipe check notes.yaml` says what a run would do, or what is wrong and on which line. `nearfar recipe schema`
writes a JSON Schema that editors use for completion.

- Relative paths start at the recipe's own folder; `~` is your home folder.
- `--set key.path=value` changes one value from the command line: `--set encoder.dim=128`,
  `--set data.pairings.0.kind=spans`, `--set 'method.matryoshka=[64, 128]'`. The value is YAML. Relative paths given this
  way start at the current folder. Setting a `kind` drops the keys of the file that belong to another kind.
- Scalars are read by YAML 1.2: `1e-3` is a number; `yes`, `no` and `on` are text, which a true-or-false key understands.
- A block that has a default may leave its `kind` out: it is then the kind of the default.
- An unknown key, a key written twice, or a value of the wrong type stops the run before it starts.
"""


def recipe_reference() -> str:
    """Markdown: for each block of a recipe a table of its keys with type, default and description."""
    return "\n".join([_OPENING, *(line for block in Node.root().blocks() for line in _section(block))])


def _section(block: Block) -> Iterator[str]:
    title = _title(block)
    if block.path:
        yield f"{'#' * (1 + min(len(block.path), 2))} {title}\n"
        # The description of the key that leads to a block says more about its use than the block's own.
        yield block.node.description + "\n"
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for key, node in block.node.properties.items():
        yield f"| `{key}` | {_cell(_type(node, (*block.inside, key)))} | {_default(block, key, node)} | {_cell(node.description)} |"
    yield ""


def _title(block: Block) -> str:
    path = show_path(tuple(segment for segment in block.path if segment != ANY_ITEM))
    item = "[]" if ANY_ITEM in block.path else ""
    return f"{path}{item}" + (f": {', '.join(block.kinds)}" if block.kinds else "")


def _type(node: Node, path: tuple[str | int, ...]) -> str:
    if not any(node.blocks(path)):
        return node.expected()
    nested = f"block, see [{show_path(path)}]({_anchor(next(node.blocks(path)))})"
    if node.values is not None:
        nested = f"block, under each name a {nested}"
    if node.items is not None:
        nested = "list of at least 1: " + nested if node.schema.get("minItems") else "list: " + nested
    return nested + (" or null" if any(a.schema.get("type") == "null" for a in node.alternatives) else "")


def _anchor(block: Block) -> str:
    """The heading's id as Python-Markdown's `toc` and GitHub both make it."""
    kept = "".join(c for c in _title(block).lower() if c.isalnum() or c in " _-")
    return "#" + "-".join(kept.split())


def _default(block: Block, key: str, node: Node) -> str:
    if key in block.node.required:
        return "**required**"
    default = node.schema.get("default")
    if isinstance(default, dict) and node.values is None:
        return "as below"
    return f"`{json.dumps(default, ensure_ascii=False)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
