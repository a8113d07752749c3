"""What the card says of an encoder of several modalities."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import combinations

from nearfar.bundle.block import Metric
from nearfar.bundle.joint_record import JointRecord
from nearfar.bundle.manifest import Manifest
from nearfar.frontend.settings import (
    AudioSettings,
    ImageSettings,
    JointSettings,
    SeriesSettings,
    TableSettings,
    TextSettings,
)

_TowerSettings = TextSettings | ImageSettings | AudioSettings | SeriesSettings | TableSettings

_ITEMS = {
    "text": ("texts", '"a text"'),
    "image": ("pictures", '"photo.jpg"'),
    "audio": ("recordings", '"sound.wav"'),
    "series": ("windows of sensors", "window"),
    "table": ("rows", '{"size": 3}'),
}
"""Kind of a tower -> what it embeds, in words and as code."""

_FIGURES = ("recall_at_1", "recall_at_5", "recall_at_10", "mrr_at_10", "median_rank", "full_recall_at_10", "precision_at_10")  # fmt: skip
_DIRECTION = re.compile(rf"([a-z][a-z0-9_]*?_to_[a-z0-9_]+?)_(?:{'|'.join(_FIGURES)})")
_MEANINGS = {
    "recall_at_1": "share of held-out queries with a partner in the first place; one of several is enough; `recall_at_5` and "
    "`recall_at_10` among the first five and ten",
    "mrr_at_10": "mean reciprocal rank of the first partner, 0 where none is among the first ten",
    "median_rank": "of the first partner",
    "full_recall_at_10": "`recall_at_10` with the items of all rows to choose from, those that were trained on too",
    "precision_at_10": "share of the first ten that fit the query; of as many as there are, where that is fewer",
}
_ROWS = {
    "chance": "a random order",
    "untrained": "the same towers, untrained",
    "model": "trained model, float weights",
    "bundle": "**this bundle, as it runs on a device**",
}

LIMITS = """## Limits and intended use

- Meant for items like those it was trained on. With other cameras, microphones, sensors, subjects or languages, measure first.
- It knows what the partners of its training say of each other, and nothing of what no partner said.
- Cosines of one modality with another lie in a range of their own: compare them with each other only by the scales in the manifest,
  as `nearfar search` does, and do not hold one threshold against all.
- A score orders the items for one query; it is no probability, and no proof that two belong together.
- Vocabularies hold words of the training data, and tables of columns their categories. Do not hand the bundle to people who may not see those.
- It repeats the leanings of its training data. Do not use it alone to decide about people."""


def record_of(manifest: Manifest) -> JointRecord:
    """The block `joint`, which a manifest of this kind has."""
    assert manifest.joint is not None
    return manifest.joint


def what(manifest: Manifest, frontend: JointSettings) -> str:
    """The first sentences of the card."""
    items = _listed([_ITEMS[settings.kind][0] for settings in frontend.towers.values()])
    record = record_of(manifest)
    centred = (
        " Each tower's mean is taken from its vectors, so that all lie around one centre." if record.centred else ""
    )
    return (
        f"An encoder of {items} in one space: what belongs together lies near each other, whatever it is. {manifest.dim} dimensions, "
        f"compared by {manifest.similarity}.{centred}"
    )


def use(manifest: Manifest, frontend: JointSettings) -> str:
    """How to embed items, and to search."""
    (left, first), (right, second), *_ = [*frontend.towers.items(), *frontend.towers.items()]
    return f"""## Use

`BUNDLE` is this folder.

```python
from nearfar.edge.encoder import Encoder
{left}, {right} = (Encoder.open("BUNDLE", tower=name) for name in ("{left}", "{right}"))
cosines = {left}.embed([{_ITEMS[first.kind][1]}]) @ {right}.embed([{_ITEMS[second.kind][1]}]).T  # (1, 1)
```

```sh
nearfar index BUNDLE my-files/ -o my-index
nearfar search my-index {example_query(frontend)}
```

The rows of `embed` are float32, {manifest.dim} components, unit length."""


def towers(manifest: Manifest, frontend: JointSettings) -> str:
    """What each tower takes, and what ships of it."""
    record = record_of(manifest)
    shipped = {one.tower: one for one in record.graphs}
    lines = ["## Towers", "", "| tower | takes | graph | agrees with the model |", "|---|---|---|---|"]
    for name, settings in frontend.towers.items():
        one = shipped.get(name)
        size = "" if one is None else f", {one.size / 1e6:.2f} MB, {one.weights}"
        agrees = "" if one is None else f"cosine {one.cosine:.4f}"
        if one is not None and one.int8_cosine is not None:
            agrees += f"; in int8 it was only {one.int8_cosine:.3f}, so it ships in float"
        lines.append(f"| {name} | {takes(settings)} | `{manifest.towers[name].graph}`{size} | {agrees} |")
    pairs = ", ".join(_pair(left, right) for left, right in record.trained)
    met = {frozenset(pair) for pair in record.trained}
    others = any(frozenset(pair) not in met for pair in combinations(frontend.towers, 2))
    through = " All others have only met through these." if others else ""
    return "\n".join(lines) + f"\n\nLearned from each other: {pairs}.{through}"


def takes(settings: _TowerSettings) -> str:
    """What a tower embeds, in a few words."""
    match settings:
        case TextSettings():
            return f"texts, cut to {settings.max_query_tokens} tokens as queries and {settings.max_document_tokens} as documents"
        case ImageSettings():
            fitted = "their central square" if settings.fit == "crop" else "squashed to a square"
            return f"pictures, {fitted}, {settings.size} x {settings.size} pixels, {settings.channels} channels"
        case AudioSettings():
            shortest, longest = settings.step / settings.rate, settings.longest / settings.rate
            return f"recordings at {settings.rate:,} Hz, {shortest:g} to {longest:g} s"
        case SeriesSettings():
            return f"windows of {settings.window} frames of {_listed([_plain(one.name) for one in settings.channels])}"
        case TableSettings():
            return f"rows of {_listed([_plain(one.name) for one in settings.columns])}"


def figures(manifest: Manifest) -> str:
    """Tables by direction, of one ranking over all towers, and by column of texts."""
    if not manifest.metrics:
        return "## How well it works\n\nNothing was measured. Measure on your own items before relying on it."
    parts = ["## How well it works", _intro(manifest), _of_bundle(manifest), _beside(manifest)]
    parts += [part for part in (_by_column(manifest), _mixed(manifest)) if part]
    return "\n\n".join(parts)


def measured_directions(metrics: Mapping[str, Mapping[str, Metric]]) -> list[str]:
    """Names of the measured directions, as `image_to_text`, in their order; none of other bundles."""
    names = [match[1] for row in metrics.values() for name in row if (match := _DIRECTION.fullmatch(name))]
    return list(dict.fromkeys(names))


def gaps(manifest: Manifest) -> list[str]:
    """How far the modalities lie apart, and what chance gives: none where it was not measured."""
    record = record_of(manifest)
    if not record.gaps:
        return []
    scales = {(one.query, one.items): one for one in record.scales}
    lines = [
        "## How the modalities lie to each other",
        "",
        "Distance of their mean vectors (the modality gap, arXiv:2203.02053; at most 2), and mean and standard deviation of the cosines of "
        "items that do not belong together: by these one ranking over all modalities is made fair.",
        "",
        "| towers | distance | cosine by chance |",
        "|---|---|---|",
    ]
    for gap in record.gaps:
        scale = scales.get(gap.towers)
        chance = f"{scale.mean:.3f} ± {scale.spread:.3f}" if scale else ""
        lines.append(f"| {_pair(*gap.towers)} | {_figure(gap.distance)} | {chance} |")
    own = [f"{name} {one.mean:.3f} ± {one.spread:.3f}" for (name, other), one in scales.items() if name == other]
    more = f"\n\nWithin one tower: {', '.join(own)}." if own else ""
    return ["\n".join(lines) + more]


def rows(manifest: Manifest, frontend: JointSettings) -> list[tuple[str, str]]:
    """The towers as `nearfar inspect` shows them."""
    record = record_of(manifest)
    shipped = {one.tower: one for one in record.graphs}
    found = []
    for name, settings in frontend.towers.items():
        one = shipped.get(name)
        size = f", {one.size / 1e6:.2f} MB, {one.weights}, cosine {one.cosine:.4f} with the model" if one else ""
        found.append((f"tower {name}", f"{takes(settings)} ({manifest.towers[name].graph}{size})"))
    found.append(("learned pairs", ", ".join(_pair(left, right) for left, right in record.trained)))
    if record.centred:
        found.append(("centred", "each tower's mean is taken from its vectors"))
    found += [(f"gap {_pair(*gap.towers)}", _figure(gap.distance)) for gap in record.gaps]
    return found


def _intro(manifest: Manifest) -> str:
    listed = "\n".join(
        f"- `{name}`: {meaning}"
        for name, meaning in _MEANINGS.items()
        if any(key.endswith(f"_{name}") for row in manifest.metrics.values() for key in row)
    )
    return (
        "On held-out rows that were never trained on; 95 % bootstrap intervals in brackets. Partners are items of one row, and where rows "
        f"have labels those of one label.\n\n{listed}"
    )


def _of_bundle(manifest: Manifest) -> str:
    """Every figure of the bundle, a line for each direction."""
    metrics, found = manifest.metrics.get("bundle", {}), measured_directions(manifest.metrics)
    known = [name for name in _FIGURES if any(f"{direction}_{name}" in metrics for direction in found)]
    lines = [f"| this bundle | {' | '.join(known)} |", f"|---|{'---|' * len(known)}"]
    for direction in found:
        cells = [_figure(metrics[key]) if (key := f"{direction}_{name}") in metrics else "" for name in known]
        lines.append(f"| {_titled(direction)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _beside(manifest: Manifest) -> str:
    """One figure of each direction, the bundle's beside that of chance, of the towers untrained, and of the model in float."""
    shown = {row: metrics for row, metrics in _measured(manifest).items() if metrics}
    lines = [f"| | | {' | '.join(_ROWS.get(row, _plain(row)) for row in shown)} |", f"|---|---|{'---|' * len(shown)}"]
    for direction in measured_directions(manifest.metrics):
        keys = [f"{direction}_{name}" for name in ("recall_at_10", "precision_at_10")]
        key = next((key for key in keys if any(key in metrics for metrics in shown.values())), None)
        if key is not None:
            cells = [_figure(metrics[key]) if key in metrics else "" for metrics in shown.values()]
            lines.append(f"| {_titled(direction)} | {key.removeprefix(f'{direction}_')} | {' | '.join(cells)} |")
    return "### Beside chance, and beside the model\n\n" + "\n".join(lines)


def _by_column(manifest: Manifest) -> str:
    """Recall for queries of each column of texts."""
    found: dict[str, dict[str, str]] = {}
    for name in measured_directions(manifest.metrics):
        start = f"{name}_recall_at_10_"
        for key, metric in manifest.metrics.get("bundle", {}).items():
            if key.startswith(start):
                found.setdefault(key.removeprefix(start), {})[name] = _figure(metric)
    if not found:
        return ""
    names = list(dict.fromkeys(name for cells in found.values() for name in cells))
    lines = [f"| queries of | {' | '.join(map(_titled, names))} |", f"|---|{'---|' * len(names)}"]
    lines += [f"| {column} | {' | '.join(cells.get(name, '') for name in names)} |" for column, cells in found.items()]
    return "### By column of the texts\n\n`recall_at_10` of this bundle.\n\n" + "\n".join(lines)


def _mixed(manifest: Manifest) -> str:
    """One ranking of the items of all towers."""
    metrics = manifest.metrics.get("bundle", {})
    ways = {"plain": "by the cosine", "scaled": "by the scales above what chance gives, as `nearfar search` ranks"}
    if not any(name.startswith("mixed_") for name in metrics):
        return ""
    assert isinstance(manifest.frontend, JointSettings)
    towers = [name for name in manifest.frontend.towers if f"mixed_share_{name}_plain" in metrics]
    shares = " | ".join(f"share of {name}" for name in towers)
    lines = [f"| ranked | recall_at_10 | {shares} |", f"|---|---|{'---|' * len(towers)}"]
    for way, words in ways.items():
        names = [f"mixed_recall_at_10_{way}", *(f"mixed_share_{name}_{way}" for name in towers)]
        if names[0] in metrics:
            lines.append(f"| {words} | {' | '.join(_figure(metrics[name]) for name in names)} |")
    return (
        "### All modalities in one ranking\n\nEach held-out item looks for its partners of other modalities among the held-out items of all, "
        "those of its own too; shares are of the first ten.\n\n" + "\n".join(lines)
    )


def _measured(manifest: Manifest) -> dict[str, Mapping[str, Metric]]:
    order = list(_ROWS)
    ordered = sorted(manifest.metrics, key=lambda row: order.index(row) if row in order else len(order))
    return {row: manifest.metrics[row] for row in ordered}


def example_query(frontend: JointSettings) -> str:
    """What to type after `nearfar search INDEX`."""
    options = {"text": '"what you look for"', "image": "--image photo.jpg", "audio": "--audio sound.wav", "series": "--series window.csv"}  # fmt: skip
    kinds = [settings.kind for settings in frontend.towers.values()]
    kind = next((kind for kind in options if kind in kinds), "table")
    return options.get(kind, "--row '{\"size\": 3}'")


def _titled(direction: str) -> str:
    left, _, right = direction.partition("_to_")
    return f"{left} → {right}"


def _pair(left: str, right: str) -> str:
    return f"{left} and {right}" if left != right else f"{left} with {right}"


def _listed(words: list[str]) -> str:
    different = list(dict.fromkeys(words))
    shown = different[:8] + [f"{len(different) - 8} more"] * (len(different) > 8)
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _figure(metric: Metric) -> str:
    if metric.low is None or metric.high is None or metric.low == metric.high:
        return f"{metric.value:.3g}"
    return f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
