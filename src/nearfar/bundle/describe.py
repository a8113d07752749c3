"""The rows that `nearfar inspect` shows."""

from __future__ import annotations

from nearfar.bundle import joint_card, monitor_card, recommender_card, table_card
from nearfar.bundle.bundle import Bundle
from nearfar.bundle.compression import compression_table, in_words
from nearfar.bundle.manifest import Head, Manifest
from nearfar.bundle.verification_rows import verification_rows
from nearfar.frontend.settings import (
    AudioSettings,
    EventsSettings,
    ImageSettings,
    JointSettings,
    PairSettings,
    SeriesSettings,
    TableSettings,
    TextSettings,
)


def describe(bundle: Bundle) -> list[tuple[str, str]]:
    """Return what a person wants to know about `bundle`, as (key, value) rows in reading order; figures apart."""
    manifest = bundle.manifest
    provenance, frontend = manifest.provenance, manifest.frontend
    rows = [
        ("name", manifest.name),
        ("path", str(bundle.path)),
        ("kind", f"{manifest.kind}, format {manifest.format}"),
        ("created", manifest.created.isoformat()),
        ("digest", bundle.digest),
        ("size", f"{bundle.size_bytes:,} bytes in {len(bundle.sums) + 1} files"),
        *_graphs(manifest),
        *(joint_card.rows(manifest, frontend) if isinstance(frontend, JointSettings) else _frontend(frontend)),
    ]
    if manifest.detector is not None and isinstance(frontend, SeriesSettings):
        rows += monitor_card.detector_rows(manifest.detector, frontend)
    if manifest.verification is not None:
        rows += verification_rows(manifest.verification)
    if manifest.recommender is not None:
        rows += recommender_card.recommender_rows(manifest.recommender)
    if manifest.teacher is not None:
        rows.append(("teacher", f"{manifest.teacher.name}, digest {manifest.teacher.digest}"))
    if manifest.classes:
        rows.append(("labels", ", ".join(manifest.classes)))
    if manifest.head is not None:
        rows += _head(manifest.head)
    if manifest.fusion is not None:
        terms = " + ".join(
            f"{weight:.4g} {name}"
            for name, weight in zip(manifest.fusion.features, manifest.fusion.weights, strict=True)
        )
        rows.append(("hybrid score", terms))
    rows += _compression(manifest)
    rows += [
        ("data", provenance.data_fingerprint),
        *((f"data: {name.replace('_', ' ')}", f"{count:,}") for name, count in provenance.data_counts.items()),
        ("recipe", f"sha256 {provenance.recipe_sha256}"),
        ("seed", str(provenance.seed)),
    ]
    rows += [
        (key, value)
        for key, value in (
            ("sampler", provenance.sampler),
            ("negatives", provenance.negatives),
            ("mining", provenance.mining),
            ("parent", provenance.parent),
        )
        if value
    ]
    rows.append(("made with", ", ".join(f"{package} {version}" for package, version in provenance.versions.items())))
    return rows


def _graphs(manifest: Manifest) -> list[tuple[str, str]]:
    if manifest.scorer is not None:
        scale = "a share from 0 to 1" if manifest.scorer.scale == "logit" else "free, orders the passages of one query"
        return [("scorer", manifest.scorer.graph), ("scale", scale)]
    if not manifest.towers:
        return [("encoder", "none" + (monitor_card.why_none(manifest.detector) if manifest.detector else ""))]
    graphs = {side: tower.graph for side, tower in manifest.towers.items()}
    towers = (
        f"shared ({graphs['query']})"
        if len(set(graphs.values())) == 1 and "query" in graphs
        else ", ".join(f"{s}: {g}" for s, g in graphs.items())
    )
    return [
        ("dimensions", ", ".join(str(dim) for dim in (manifest.dim, *sorted(manifest.dims, reverse=True)))),
        ("similarity", "dot product" if manifest.similarity == "dot" else manifest.similarity),
        ("towers", towers),
    ]


def _compression(manifest: Manifest) -> list[tuple[str, str]]:
    """A row for each step; the name of the figure is told once."""
    table = compression_table(manifest)
    rows = []
    for (name, mb, milliseconds, quality, change, verdict), step in zip(table[1:], manifest.compression, strict=True):
        remark = ": ".join(part for part in (verdict, step.reason) if part)
        sizes = (mb and f"{mb} MB", milliseconds and f"{milliseconds} ms")
        facts = (*sizes, quality and f"{table[0][3]} {quality}", change, remark)
        rows.append((f"made small: {name}", ", ".join(fact for fact in facts if fact)))
    if manifest.agreement is not None:
        rows.append(("graphs agree", in_words(manifest.agreement)))
    return rows


def _head(head: Head) -> list[tuple[str, str]]:
    accuracy = ", ".join(f"{kind} {share:.3f}" for kind, share in head.accuracy.items())
    rows = [
        ("classifier", f"{head.kind}, {len(head.labels):,} labels from {head.examples:,} examples"),
        ("classifier labels", ", ".join(head.labels)),
    ]
    if accuracy:
        rows.append(("cross-validated", f"{accuracy} (share right)"))
    if head.threshold:
        rows.append(("abstains below", f"{head.threshold:.3f}"))
    return rows


def _frontend(
    frontend: TextSettings
    | ImageSettings
    | AudioSettings
    | SeriesSettings
    | PairSettings
    | TableSettings
    | EventsSettings,
) -> list[tuple[str, str]]:
    if isinstance(frontend, PairSettings):
        return [
            ("longest query", f"{frontend.max_query_tokens} tokens"),
            ("longest pair", f"{frontend.max_tokens} tokens"),
        ]
    if isinstance(frontend, TableSettings):
        return table_card.rows(frontend)
    if isinstance(frontend, EventsSettings):
        return recommender_card.history_rows(frontend)
    if isinstance(frontend, SeriesSettings):
        return monitor_card.channel_rows(frontend)
    if isinstance(frontend, AudioSettings):
        shortest, longest = frontend.step / frontend.rate, frontend.longest / frontend.rate
        return [
            ("sound", f"{frontend.rate:,} samples a second, {shortest:g} to {longest:g} s, {frontend.bands} mel bands")
        ]
    if isinstance(frontend, ImageSettings):
        fitted = "central square" if frontend.fit == "crop" else "squashed to a square"
        return [("pixels", f"{frontend.size} x {frontend.size}, {frontend.channels} channels, {fitted}")]
    prompts = (("query prompt", frontend.query_prompt), ("document prompt", frontend.document_prompt))
    return [
        ("longest query", f"{frontend.max_query_tokens} tokens"),
        ("longest document", f"{frontend.max_document_tokens} tokens"),
        *((name, repr(prompt)) for name, prompt in prompts if prompt),
    ]
