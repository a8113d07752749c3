"""`nearfar cluster`: what a collection is about."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nearfar.cli.collection_options import Image, Output, Passages, Place, Seed, Source, Threads, Tower
from nearfar.cli.options import AsJson
from nearfar.cli.table_options import Id, Location, Text, Title

if TYPE_CHECKING:
    from pathlib import Path

    from nearfar.edge.collections.cluster import Clusters
    from nearfar.edge.collections.collection import Collection


def cluster(
    place: Place,
    source: Source = None,
    output: Output = None,
    k: Annotated[
        int | None, typer.Option("-k", min=1, help="How many clusters; by default chosen on held-out items.")
    ] = None,
    terms: Annotated[int, typer.Option("--terms", min=1, help="Of texts: words that name a cluster.")] = 5,
    passages: Passages = False,
    text: Text = "text",
    image: Image = "image",
    title: Title = None,
    id_: Id = None,
    location: Location = None,
    tower: Tower = None,
    threads: Threads = 1,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Group items by what they are about, and name each group by its words and most typical item."""
    from nearfar.cli.console import progress_lines, show_skipped
    from nearfar.cli.result_file import check_result_path, write_rows
    from nearfar.edge.collections.cluster import find_clusters
    from nearfar.edge.collections.gather import Columns, gather

    check_result_path(output)
    columns = Columns(text=text, image=image, title=title, id=id_, location=location)
    with (
        progress_lines() as stages,
        gather(place, source, columns, passages=passages, tower=tower, threads=threads, stages=stages) as gathered,
    ):
        collection = gathered.collection
        found = find_clusters(collection.vectors, k, seed=seed, stages=stages)
        stages("naming")
        names = gathered.terms(found.of.tolist(), count=terms)
        stages.finish()
        if output is not None:
            fields = ("cluster", "id", "cosine", "outlier", "medoid", "terms", "location")
            write_rows(output, fields, _rows(collection, found, names))
        show_skipped(collection.report.skipped, collection.report.examples)
        if as_json:
            _print_as_json(collection, found, names)
        else:
            _print(collection, found, names, output)


def _rows(collection: Collection, found: Clusters, names: list[list[str]]) -> Iterator[dict[str, Any]]:
    for row, entry in enumerate(collection):
        of = int(found.of[row])
        yield {
            "cluster": of + 1,
            "id": entry.id,
            "cosine": round(float(found.cosines[row]), 4),
            "outlier": bool(found.outlier[row]),
            "medoid": bool(found.medoids[of] == row),
            "terms": " ".join(names[of]),
            "location": entry.location,
        }


def _print_as_json(collection: Collection, found: Clusters, names: list[list[str]]) -> None:
    clusters = []
    for number, (medoid, terms) in enumerate(zip(found.medoids.tolist(), names, strict=True)):
        rows = (found.of == number).nonzero()[0].tolist()
        typical = collection.entry(medoid)
        clusters.append(
            {
                "cluster": number + 1,
                "size": len(rows),
                "terms": terms,
                "medoid": {"id": typical.id, "location": typical.location},
                "outliers": [collection.entry(row).id for row in rows if found.outlier[row]],
                "items": [collection.entry(row).id for row in rows],
            }
        )
    tried = {str(number): round(score.mean, 4) for number, score in found.scores.items()}
    summary = {"items": len(collection), "silhouettes": tried, "clusters": clusters}
    typer.echo(json.dumps(summary, ensure_ascii=False, indent=1))


def _print(collection: Collection, found: Clusters, names: list[list[str]], output: Path | None) -> None:
    from nearfar.cli.collection_tables import add_row, brief, plain_table
    from nearfar.cli.console import out

    has_terms = any(names)
    table = plain_table("", "items", "outliers", *(["terms"] if has_terms else []), "most typical")
    for number, (medoid, terms) in enumerate(zip(found.medoids.tolist(), names, strict=True)):
        rows = found.of == number
        strange = int(found.outlier[rows].sum())
        typical = brief(collection.entry(medoid))
        cells = [f"{int(rows.sum()):,}", str(strange or ""), *([", ".join(terms)] if has_terms else []), typical]
        add_row(table, str(number + 1), *cells)
    out.print(table)
    written = f"; written to {output}" if output else ""
    out.print(
        f"\n{len(collection):,} items in {len(names):,} clusters, {int(found.outlier.sum()):,} outliers{written}",
        soft_wrap=True,
    )
    if found.scores:
        tried = ", ".join(f"{number}: {score.mean:.3f}" for number, score in found.scores.items())
        out.print(f"[dim]held-out silhouette by number of clusters: {tried}[/]", soft_wrap=True)
