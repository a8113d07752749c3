"""`card.md`: the page a person reads before trusting a model."""

from __future__ import annotations

import json

from nearfar.bundle import (
    audio_card,
    joint_card,
    monitor_card,
    recommender_card,
    reranker_card,
    table_card,
    verification_card,
)
from nearfar.bundle.block import Metric
from nearfar.bundle.compression import compression_table, in_words
from nearfar.bundle.manifest import Manifest, TeacherRecord
from nearfar.frontend.settings import (
    AudioSettings,
    EventsSettings,
    ImageSettings,
    JointSettings,
    PairSettings,
    SeriesSettings,
    TableSettings,
)

_IMAGE_FIGURES = {
    "knn_accuracy": "share of test pictures whose nearest training pictures vote for their label",
    "probe_accuracy": "share that a linear classifier on the embeddings gets right, trained on all labels of the training pictures",
    "few_label_accuracy": "the same with ten labels a class",
    "nmi": "how far clusters of the embeddings are the labels (normalised mutual information)",
    "view_recall_at_1": "share of test pictures that are found by a random view of them, among all test pictures",
    "accuracy": "share that the classifier in the bundle gets right",
}
_LINES = {
    "bm25": "BM25 (keywords only)",
    "pixels": "raw pixels",
    "spectrum": "mean and deviation of log-mel bands",
    "columns": "the columns as they are",
    "raw": "distance of the mean of the last frames from normal (Mahalanobis), no encoder",
    "untrained": "the same encoder, untrained",
    "teacher": "its teacher, for queries and documents",
    "model": "trained model, float weights",
    "bundle": "**this bundle, as it runs on a device**",
    "asymmetric": "**this bundle for queries, its teacher for documents**",
    "added": "the same, but what is sought was embedded by this bundle, as if added on the device",
    "hybrid": "**this bundle, joined with keywords**",
    "reranked": "**the first 50 of BM25, reordered by this bundle as it runs on a device**",
}


def render_card(manifest: Manifest) -> str:
    """Return the model card of a bundle as Markdown (model cards: Mitchell et al., arXiv:1810.03993)."""
    sections = [
        _what(manifest),
        _use(manifest),
        *([joint_card.towers(manifest, manifest.frontend)] if isinstance(manifest.frontend, JointSettings) else []),
        _figures(manifest),
        *(joint_card.gaps(manifest) if manifest.joint is not None else []),
        *verification_card.verification(manifest),
        *recommender_card.sections(manifest),
        *_compression(manifest),
        *([table_card.columns(manifest.frontend)] if isinstance(manifest.frontend, TableSettings) else []),
        *monitor_card.promise(manifest),
        *([monitor_card.channels(manifest.frontend)] if isinstance(manifest.frontend, SeriesSettings) else []),
        _data(manifest),
        _limits(manifest),
        _recipe(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def figure(metric: Metric) -> str:
    """Return a figure with its interval, as in `0.512 [0.498, 0.527]`."""
    if metric.low is None or metric.high is None:
        return f"{metric.value:.4g}"
    return f"{metric.value:.4g} [{metric.low:.4g}, {metric.high:.4g}]"


def _what(manifest: Manifest) -> str:
    frontend = manifest.frontend
    if isinstance(frontend, PairSettings):
        return _titled(manifest, reranker_card.what(manifest, frontend))
    if isinstance(frontend, TableSettings):
        return _titled(manifest, table_card.what(manifest, frontend))
    if isinstance(frontend, SeriesSettings):
        return _titled(manifest, monitor_card.what(manifest, frontend))
    if isinstance(frontend, AudioSettings):
        return _titled(manifest, audio_card.what(manifest, frontend))
    if isinstance(frontend, EventsSettings):
        return _titled(manifest, recommender_card.what(manifest, frontend))
    if isinstance(frontend, JointSettings):
        return _titled(manifest, joint_card.what(manifest, frontend))
    prefixes = (
        f" Its first {' or '.join(map(str, sorted(manifest.dims)))} components also work on their own."
        if manifest.dims
        else ""
    )
    shape = f"{manifest.dim} dimensions, compared by {manifest.similarity}.{prefixes}"
    if isinstance(frontend, ImageSettings):
        colours = {1: "in grey", 3: "in colour"}.get(frontend.channels, f"of {frontend.channels} channels")
        fitted = (
            "the central square of a picture" if frontend.fit == "crop" else "the whole picture, squashed to a square"
        )
        labels = (
            f" It also tells {len(manifest.classes)} labels apart: {_plain(', '.join(manifest.classes[:20]))}"
            f"{', ...' if len(manifest.classes) > 20 else ''}."
            if manifest.classes
            else ""
        )
        what = (
            f"An image encoder: it puts pictures that look alike near each other. {shape} It sees {fitted} at "
            f"{frontend.size} x {frontend.size} pixels {colours}.{labels}"
        )
    else:
        towers = (
            "one encoder for both sides"
            if len({t.graph for t in manifest.towers.values()}) == 1
            else "an encoder for each side"
        )
        what = (
            f"A text encoder for search: it puts a query near the documents that answer it. {towers.capitalize()}, "
            f"{shape} Queries are cut to {frontend.max_query_tokens} tokens, documents to {frontend.max_document_tokens}."
        )
    return _titled(manifest, what)


def _titled(manifest: Manifest, what: str) -> str:
    runs_on = "onnxruntime" if manifest.towers or manifest.scorer else "numpy alone"
    return (
        f"# {_plain(manifest.name)}\n\n{what} Made with nearfar on {manifest.created.date().isoformat()}; it runs on "
        f"{runs_on}, without network and without torch."
    )


def _use(manifest: Manifest) -> str:
    if isinstance(manifest.frontend, PairSettings):
        return reranker_card.use(manifest)
    if isinstance(manifest.frontend, TableSettings):
        return table_card.use(manifest, manifest.frontend)
    if isinstance(manifest.frontend, SeriesSettings):
        return monitor_card.use(manifest.frontend)
    if isinstance(manifest.frontend, AudioSettings):
        return audio_card.use(manifest, manifest.frontend)
    if isinstance(manifest.frontend, EventsSettings):
        return recommender_card.use(manifest.frontend)
    if isinstance(manifest.frontend, JointSettings):
        return joint_card.use(manifest, manifest.frontend)
    rows = f"The rows of `embed` are float32, {manifest.dim} components, unit length."
    if isinstance(manifest.frontend, ImageSettings):
        classify = (
            f'\nscores = encoder.classify(["photo.jpg"])  # (1, {len(manifest.classes)}), probabilities of encoder.classes'
            if manifest.classes
            else ""
        )
        return f"""## Use

`BUNDLE` is this folder; `pip install "nearfar[images]"` reads picture files.

```python
from nearfar.edge.encoder import Encoder
encoder = Encoder.open("BUNDLE")
cosines = encoder.embed(["a.jpg"]) @ encoder.embed(["b.jpg", "c.png"]).T  # (1, 2){classify}
```

{rows} Paths, encoded bytes and arrays (h, w, c) are all pictures."""
    teacher = manifest.teacher
    option, how = (" --teacher TEACHER", _how_taught(teacher)) if teacher else ("", "")
    return f"""## Use

`BUNDLE` is this folder.{how}

```python
from nearfar.edge.encoder import Encoder
encoder = Encoder.open("BUNDLE")
scores = encoder.embed(["a question"], "query") @ encoder.embed(["a text", "another"], "document").T  # (1, 2)
```

```sh
nearfar index BUNDLE my-documents/ -o my-index{option}
nearfar search my-index "a question"
```

{rows}"""


def _how_taught(teacher: TeacherRecord) -> str:
    """How a query encoder is used with its teacher."""
    return (
        f" It brings queries into the space of `{_plain(teacher.name)}` (digest `{teacher.digest[:16]}`). `TEACHER` is that bundle: "
        "it embeds the documents where the index is built, and stays there; the index goes to the device, which needs only this "
        "bundle. Without it, and for what is added on the device, documents go through this bundle too."
    )


def _figures(manifest: Manifest) -> str:
    if isinstance(manifest.frontend, JointSettings):
        return joint_card.figures(manifest)
    if not manifest.metrics:
        own = {"image": "pictures", "audio": "recordings", "series": "data", "table": "rows", "events": "logs"}.get(
            manifest.frontend.kind, "queries"
        )
        return f"## How well it works\n\nNothing was measured. Measure on your own {own} before relying on it."
    shown = {
        row: metrics
        for row, metrics in manifest.metrics.items()
        if row != "privacy" and not verification_card.is_attack(row)
    }
    names = list(dict.fromkeys(name for metrics in shown.values() for name in metrics))
    rows = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    lines = recommender_card.LINES if isinstance(manifest.frontend, EventsSettings) else _LINES
    for line in sorted(shown, key=lambda line: list(lines).index(line) if line in lines else len(lines)):
        metrics = manifest.metrics[line]
        cells = (figure(metrics[name]) if name in metrics else "" for name in names)
        rows.append(f"| {lines.get(line, _plain(line))} | {' | '.join(cells)} |")
    items = {
        "image": "pictures",
        "audio": "recordings",
        "series": "healthy data with injected faults",
        "table": "rows",
    }.get(manifest.frontend.kind, "pairs")
    unseen = (
        "On queries that were never trained on (spans of documents, where there is nothing else); the documents were, as those of an index are"
        if manifest.teacher
        else f"On held-out {items} that were never trained on"
    )
    if manifest.verification is not None:
        known = (
            "that were trained on too, by other samples" if manifest.verification.seen else "that were never trained on"
        )
        unseen = f"On identities {known}, each enrolled by {manifest.verification.samples} samples"
    intro = f"{unseen}; 95 % bootstrap intervals in brackets where they were computed."
    if manifest.provenance.data_counts.get("machines", 1) > 1 and isinstance(manifest.frontend, SeriesSettings):
        intro += monitor_card.OF_SEVERAL
    if isinstance(manifest.frontend, EventsSettings):
        intro = (
            f"{recommender_card.figures_intro(manifest)} 95 % bootstrap intervals in brackets where they were computed."
        )
    meanings = {
        "events": recommender_card.FIGURES,
        "image": _IMAGE_FIGURES,
        "audio": audio_card.FIGURES,
        "series": monitor_card.FIGURES,
        "table": table_card.FIGURES,
    }.get(manifest.frontend.kind)
    if manifest.verification is not None:
        meanings = verification_card.FIGURES
    if meanings:
        intro += "\n\n" + "\n".join(
            f"- `{name}`: {meaning}"
            for name, meaning in meanings.items()
            if any(name in metrics for metrics in manifest.metrics.values())
        )
    return f"## How well it works\n\n{intro}\n\n" + "\n".join(rows)


def _compression(manifest: Manifest) -> list[str]:
    table = compression_table(manifest)
    if not table:
        return []
    heads, *rows = ([_plain(cell) for cell in row] for row in table)
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *(f"| {' | '.join(row)} |" for row in rows)]
    measured = any(step.quality is not None for step in manifest.compression)
    quality = (
        "Quality is that on the validation part, with its 95 % bootstrap interval; change is against the last "
        "step kept, paired. A step that cost more than the recipe allows, or gave no smaller bundle, was left out; the next one went on without it."
        if measured
        else "Nothing was held out for validation, so what the steps cost is not known."
    )
    text = f"Each row is a bundle of its own, run as on a device; ms is one item on one thread. {quality}"
    agreement = f"\n\nThis bundle: {in_words(manifest.agreement)}." if manifest.agreement else ""
    return [f"## How it was made small\n\n{text}\n\n" + "\n".join(lines) + agreement]


def _data(manifest: Manifest) -> str:
    provenance = manifest.provenance
    rows = [f"- fingerprint: `{provenance.data_fingerprint}`"]
    rows += [f"- {name.replace('_', ' ')}: {count:,}" for name, count in provenance.data_counts.items()]
    rows += [f"- what is positive: `{_compact(rule)}`" for rule in provenance.pairing]
    rows += [f"- augmentation: `{_compact(rule)}`" for rule in provenance.augmentations]
    facts = {"sampler": provenance.sampler, "negatives": provenance.negatives, "mining": provenance.mining}
    rows += [f"- {key}: {value}" for key, value in facts.items() if value]
    if isinstance(manifest.frontend, SeriesSettings):
        rows.append("- split: in time, what is held out comes last (`data.split.by` of the recipe is for other data)")
    if provenance.parent:
        rows.append(f"- made from the bundle `{provenance.parent}`")
    vocabulary = {
        "image": "",
        "audio": "",
        "series": "; names and healthy ranges of channels are",
        "table": "; names of columns and values of categories are",
        "joint": "; vocabularies of its texts, names and healthy ranges of channels, names of columns and values of categories are",
        "events": "; the names of the items, what is known of them and how often they were acted on are, but nothing of a single user",
    }.get(manifest.frontend.kind, "; its vocabulary is")
    return f"## Training data\n\nThe data itself is not in this bundle{vocabulary}.\n\n" + "\n".join(rows)


def _limits(manifest: Manifest) -> str:
    if manifest.verification is not None:
        return verification_card.LIMITS
    if isinstance(manifest.frontend, ImageSettings):
        return """## Limits and intended use

- Meant for pictures like those it was trained on. On other cameras, lights or subjects, measure first.
- What is alike is what the views of the recipe left unchanged: an encoder trained to overlook colour cannot search by it.
- A cosine orders the pictures near one picture; it is no probability, and no proof that two show the same thing or person.
- It repeats the leanings of its training data. Do not use it alone to decide about people."""
    if isinstance(manifest.frontend, PairSettings):
        return reranker_card.limits(manifest, manifest.frontend)
    if isinstance(manifest.frontend, TableSettings):
        return table_card.LIMITS
    if isinstance(manifest.frontend, SeriesSettings):
        return monitor_card.LIMITS
    if isinstance(manifest.frontend, AudioSettings):
        return audio_card.LIMITS
    if isinstance(manifest.frontend, EventsSettings):
        return recommender_card.LIMITS
    if isinstance(manifest.frontend, JointSettings):
        return joint_card.LIMITS
    return f"""## Limits and intended use

- Meant for ranking texts like those it was trained on. On another subject or language, measure first.
- The vocabulary file holds words of the training data. Do not hand the bundle to people who may not see those words.
- A score orders the documents of one query; it is no probability, and scores of different queries do not compare.
- What lies beyond {manifest.frontend.max_document_tokens} tokens of a document does not count: cut long texts into passages.
- It repeats the leanings of its training data. Do not use it alone to decide about people."""


def _recipe(manifest: Manifest) -> str:
    provenance = manifest.provenance
    versions = ", ".join(f"{package} {version}" for package, version in provenance.versions.items())
    recipe = json.dumps(provenance.recipe, indent=2, ensure_ascii=False)
    # A fence longer than any run of backticks inside, so that no text of the recipe can end the block.
    fence = "`" * max(3, 1 + max(len(run) for run in "".join(c if c == "`" else " " for c in recipe).split(" ")))
    return f"## Recipe\n\nSeed {provenance.seed}; recipe SHA-256 `{provenance.recipe_sha256}`; {versions or 'versions not recorded'}.\n\n{fence}json\n{recipe}\n{fence}"


def _compact(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(text: str) -> str:
    """Return text that stays on one line and in one table cell."""
    return " ".join(text.split()).replace("|", "\\|")
