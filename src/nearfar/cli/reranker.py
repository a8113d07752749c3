"""`nearfar reranker`: a bundle that reorders what a search finds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def reranker(
    source: Annotated[
        str,
        typer.Argument(help="A directory with a Hugging Face model, or its name on the hub. With --pairs any encoder."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the bundle.")],
    pairs: Annotated[
        Path | None, typer.Option(help="Train it first on this table of pairs (.jsonl, .csv, .parquet).")
    ] = None,
    query: Annotated[str, typer.Option(help="Of the pairs: the column with the queries.")] = "query",
    positive: Annotated[
        str, typer.Option(help="Of the pairs: the column with what answers it, a text or a list.")
    ] = "positive",
    negative: Annotated[
        str | None, typer.Option(help="Of the pairs: the column with what does not; without it BM25 finds some.")
    ] = None,
    epochs: Annotated[float, typer.Option(min=0, help="How often every query is learned from.")] = 1.0,
    learning_rate: Annotated[float, typer.Option(help="The highest.")] = 5e-5,
    seed: Annotated[int, typer.Option(help="Of all that is random in training.")] = 0,
    revision: Annotated[str | None, typer.Option(help="Of the hub repository: a tag or commit.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the bundle.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Longest query and passage together; shorter is faster.")
    ] = None,
    quantise: Annotated[
        Literal["int8", "none"], typer.Option(help="int8 is a quarter of the size, and faster on a CPU.")
    ] = "int8",
) -> None:
    """Make a reranker of a cross-encoder, as it is or trained on your own pairs."""
    from nearfar.cli.console import figures_table, notes, out, progress_lines
    from nearfar.road.reranker import import_reranker, train_reranker

    with progress_lines() as stages:
        if pairs is None:
            bundle = import_reranker(
                source, output, revision=revision, name=name, max_tokens=max_tokens, quantise=quantise, stages=stages
            )
        else:
            from nearfar.learn.rerank_training import Schedule

            bundle = train_reranker(
                source,
                pairs,
                output,
                query=query,
                positive=positive,
                negative=negative,
                schedule=Schedule(epochs=epochs, learning_rate=learning_rate, seed=seed),
                revision=revision,
                name=name,
                max_tokens=max_tokens,
                quantise=quantise,
                stages=stages,
            )
    if bundle.manifest.metrics:
        out.print()
        out.print(figures_table(bundle.manifest.metrics))
        before, after = (bundle.manifest.metrics[row]["ndcg_at_10"].value for row in ("bm25", "reranked"))
        if after <= before:
            notes.print(
                "warning: reranking makes the order of BM25 no better. Train on more pairs or epochs, or start from a model "
                "that is a cross-encoder already.",
                style="yellow",
                soft_wrap=True,
            )
    out.print(f"\nbundle  {bundle.path}  ({bundle.size_bytes / 1e6:.2f} MB)", markup=False, soft_wrap=True)
    out.print(f'\nnext:   nearfar search INDEX "a question" --rerank {bundle.path}', markup=False, soft_wrap=True)
