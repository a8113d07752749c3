"""`nearfar import`: other people's encoder as a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def import_encoder(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder of transformers or sentence-transformers, a folder or file with an ONNX graph, or a name on the hub."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the bundle.")],
    revision: Annotated[str | None, typer.Option(help="Of the hub repository: a tag or commit.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest text; by default what the model says, at most 512.")
    ] = None,
    pooling: Annotated[
        Literal["mean", "cls"] | None,
        typer.Option(help="How token vectors become one; by default what the model says, or the mean."),
    ] = None,
    query_prompt: Annotated[
        str | None, typer.Option(help="Put before every query; by default what the model says, or nothing.")
    ] = None,
    document_prompt: Annotated[str | None, typer.Option(help="The same for documents.")] = None,
    quantise: Annotated[
        Literal["int8", "none"],
        typer.Option(help="int8 is a quarter of the size and faster on a CPU; a teacher is best in float."),
    ] = "none",
    name: Annotated[str | None, typer.Option(help="Of the bundle.")] = None,
) -> None:
    """Make a bundle of a text encoder that somebody else has trained."""
    from nearfar.cli.console import notes, out, progress_lines
    from nearfar.road.import_encoder import import_encoder as make

    with progress_lines() as stages:
        bundle = make(
            source,
            output,
            revision=revision,
            name=name,
            max_tokens=max_tokens,
            pooling=pooling,
            query_prompt=query_prompt,
            document_prompt=document_prompt,
            quantise=quantise,
            stages=stages,
        )
    manifest = bundle.manifest
    made_of, frontend = manifest.provenance.recipe, manifest.frontend
    assert frontend.kind == "text"
    for note in made_of.get("notes") or ():  # type: ignore[union-attr]
        notes.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)
    rows = {
        "bundle": f"{bundle.path}  ({bundle.size_bytes / 1e6:.2f} MB)",
        "made of": f"{made_of['source']}  ({made_of['read']})",
        "vectors": f"{manifest.dim} dimensions, {made_of['pooling'] or 'pooled by the graph'}"
        + (" of the tokens" if made_of["pooling"] == "mean" else " token" if made_of["pooling"] else ""),
        "texts": f"up to {frontend.max_document_tokens} tokens",
    }
    rows |= {
        f"{side} prompt": repr(prompt)
        for side, prompt in (("query", frontend.query_prompt), ("document", frontend.document_prompt))
        if prompt
    }
    out.print()
    for key, value in rows.items():
        out.print(f"{key:<16}{value}", markup=False, soft_wrap=True)
    out.print(
        f'\nnext:   nearfar index {bundle.path} my-documents/ -o my-index && nearfar search my-index "a question"',
        markup=False,
        soft_wrap=True,
    )
    out.print(
        f"or:     nearfar train recipes/query-encoder.yaml --set teacher.model={bundle.path}   for a smaller encoder",
        markup=False,
        soft_wrap=True,
    )
