"""`nearfar retrieve`: what to show a language model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nearfar.cli.options import AsJson

if TYPE_CHECKING:
    from nearfar.edge.rag.pack import Retrieved


def retrieve(
    index_path: Annotated[
        str, typer.Argument(metavar="INDEX", help="An index, or the address of one on a server (see nearfar push).")
    ],
    question: Annotated[str, typer.Argument(help="What to answer, in your own words.")],
    budget: Annotated[int, typer.Option(help="The most tokens that the sources may have.")] = 2000,
    k: Annotated[int, typer.Option("-k", help="How many passages to find.")] = 20,
    mode: Annotated[
        str | None, typer.Option(help="hybrid, dense or keyword; by default what the bundle was fitted for.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="Only documents like these, as in \"year >= 2020 and lang = 'en'\".")
    ] = None,
    min_score: Annotated[float | None, typer.Option("--min-score", help="Leave out what scores less.")] = None,
    diversity: Annotated[
        float | None, typer.Option(help="From 0, only relevance counts, to 1, only difference counts.")
    ] = None,
    neighbours: Annotated[
        int, typer.Option(help="Fill up with so many passages before and after each that was found.")
    ] = 0,
    order: Annotated[
        str, typer.Option(help="score: best first; document: as they stand in their documents.")
    ] = "score",
    rerank: Annotated[
        Path | None, typer.Option(help="The bundle of a cross-encoder that reads the best passages again.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Of an index on a server: the bundle that embeds the question.")
    ] = None,
    as_prompt: Annotated[
        bool, typer.Option("--prompt", help="Print the sources as text for a language model.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find the passages that answer a question, as numbered sources that fit into a budget of tokens."""
    from nearfar.cli.opened import open_named
    from nearfar.edge.rag.retrieve import retrieve
    from nearfar.errors import DataError

    if as_prompt and as_json:
        raise DataError("--prompt prints text and --json prints JSON; choose one of them")
    with open_named(index_path, bundle) as opened:
        found = retrieve(
            opened,
            question,
            budget,
            k=k,
            mode=mode,  # type: ignore[arg-type]
            where=where,
            min_score=min_score,
            diversity=diversity,
            rerank=rerank,
            neighbours=neighbours,
            order=order,  # type: ignore[arg-type]
        )
    if as_json:
        typer.echo(found.to_json())
    elif as_prompt:
        typer.echo(found.as_prompt())
    else:
        print_sources(found)


def print_sources(found: Retrieved) -> None:
    """Print every source with its place, and how much of the budget they take."""
    from rich.markup import escape
    from rich.padding import Padding

    from nearfar.cli.console import out

    if not found.passages:
        out.print("nothing found" if not found.left_out else "nothing fits into the budget; give more with --budget")
        return
    for source in found.passages:
        number = f"\\[{source.number}]"
        names = " > ".join(escape(name) for name in source.names)
        out.print(f"{number:<6}[bold]{names}[/]  [dim]{source.score:.3f}[/]", soft_wrap=True)
        out.print(f"     [dim]{escape(source.place)}[/]", soft_wrap=True)
        out.print(Padding(escape(source.text) + (" [dim]…[/]" if source.shortened else ""), (0, 0, 1, 5), expand=False))
    left_out = f"; passages left out: {found.left_out}" if found.left_out else ""
    out.print(f"[dim]{found.tokens:,} of {found.budget_tokens:,} tokens{left_out}[/]")
