"""What the card and `nearfar inspect` say of a recommender."""

from __future__ import annotations

from nearfar.bundle.block import Metric
from nearfar.bundle.manifest import Manifest
from nearfar.bundle.recommender_record import RecommenderRecord
from nearfar.frontend.settings import EventsSettings

LINES = {
    "popularity": "what most have acted on, the same for everybody",
    "item_knn": "items that the same people acted on (cosine), the latest actions counting most",
    "transitions": "what others did within five actions after the same ones",
    "untrained": "the same encoder, untrained",
    "model": "the trained encoder alone, float weights",
    "encoder": "the encoder alone, as it runs on a device",
    "prior": "what came after what alone, as it runs on a device",
    "bundle": "**this bundle, as it runs on a device**",
}
"""Row of metrics -> what was measured, in reading order."""

FIGURES = {
    "ndcg_at_10": "how far up the next action stands among the first ten: 1 for the first place, 0 below the tenth",
    "recall_at_10": "share of next actions that are among the first ten",
    "ratio_to_best": "NDCG@10 of this bundle over that of the best of the counted baselines, on the same users",
    "cold_ndcg_at_10": "NDCG@10 of the cases whose next action was on an item that nobody had acted on in training",
    "coverage": "share of all items that stand in somebody's first ten",
    "popularity_bias": "mean log popularity of what is recommended less that of what was acted on: above 0, popular items are favoured",
    "head_share": "share of recommendations that are of the most popular tenth of the items",
}
"""What was measured -> what it means, in reading order."""

PRIVACY = {
    "membership_auc": "how often an item of a user's history is nearer to their long-term vector (by dot product) than an equally popular "
    "one that is not: 0.5 says nothing, 1 says all",
    "membership_auc_clipped": "the same where longer vectors are cut to the median length, which hides how much somebody did",
    "membership_auc_noise_10": "the same with Gaussian noise in each component, its deviation 10 % of that length",
    "membership_auc_noise_50": "the same with 50 %",
    "membership_auc_as_set": "the same with the noise that this bundle's recipe sets",
    "membership_auc_popularity": "guessing by popularity alone: near 0.5 where the comparison is fair",
}
"""What an attacker with a long-term vector can guess -> what it means, in reading order."""

LIMITS = """## Limits and intended use

- Meant for the items and the kind of users that it was trained on. Where either changes, train again, or send signed updates of the
  catalogue; items that nobody has acted on yet are known by their content alone, or not at all.
- Figures say how well the next action of past users was foreseen. They do not say what people would have liked had it been shown, nor
  what recommending does to them in the long run.
- It repeats what users of its training data did, their leanings included. What is popular is shown more and becomes more popular: see
  coverage and popularity bias.
- A score orders the items for one history; it is no probability, and scores of different people do not compare.
- Do not use it to decide about people."""

CONVENTION = (
    "Each held-out action is looked for among all items of the catalogue that the user had not acted on before (also not in training); no "
    "candidates are drawn. Ties count half. An action on an item that is not in the catalogue, or that the user had acted on before, is a "
    "miss and counted. A figure is the mean over users of the mean over their cases; intervals are over users."
)


def what(manifest: Manifest, frontend: EventsSettings) -> str:
    """The first sentences of the card."""
    record = recommender_of(manifest)
    cold = f", {record.cold:,} of them known by their content alone" if record.cold else ""
    return (
        f"A recommender: from what somebody did on this device it ranks {record.items:,} items{cold}. It looks at the latest "
        f"{frontend.length} actions. {manifest.dim} dimensions. The history stays sealed on the device; nothing is sent."
    )


def use(frontend: EventsSettings) -> str:
    """How to record and recommend."""
    liked = [kind for kind, weight in frontend.actions.items() if weight > 0]
    action = f', action="{_plain(liked[0])}"' if liked else ""
    option = f" --action {_plain(liked[0])}" if liked else ""
    return f"""## Use

`BUNDLE` is this folder, `DIR` a new one for the sealed history; a passphrase or a keystore keeps its key.

```python
from nearfar import Event, Recommender
with Recommender.create("DIR", "BUNDLE") as recommender:  # afterwards Recommender.open("DIR")
    recommender.record(Event("an item"{action}))
    for found in recommender.recommend(k=10):
        print(found.item, found.title, found.score)
```

```sh
nearfar record DIR "an item"{option} --bundle BUNDLE
nearfar recommend DIR -k 10
nearfar forget DIR --item "an item"
```

What is forgotten is gone: profile and answers are then those of a device that never saw it."""


def figures_intro(manifest: Manifest) -> str:
    """What the figures are of, before the table."""
    recipe_split = manifest.provenance.recipe.get("data")
    split = recipe_split.get("split") if isinstance(recipe_split, dict) else None
    by = split.get("by") if isinstance(split, dict) else None
    order = {
        "last_actions": "The last action of each user was held out; all before it is their history.",
        "time": "Every action after one moment was held out, and is foreseen from all that its user did before it; the model, its "
        "catalogue and all counts are of what came before that moment.",
    }.get(str(by), "On actions that were held out.")
    return f"{order} {CONVENTION}"


def sections(manifest: Manifest) -> list[str]:
    """How it ranks, and what a profile vector would tell; none where the bundle recommends nothing."""
    if manifest.recommender is None:
        return []
    rows = "\n".join(f"| {name} | {value} |" for name, value in recommender_rows(manifest.recommender))
    found = [
        f"## How it ranks\n\nThe score of an item is a sum of parts; their weights were chosen on validation cases, through this bundle."
        f"\n\n| | |\n|---|---|\n{rows}"
    ]
    figures = manifest.metrics.get("privacy", {})
    text = (
        "## What stays private\n\nEvents are kept on the device, sealed with its key; recommending needs no network. Who has the key can read "
        "them, and whoever sees what is recommended can guess at what was done. The long-term vector is made for the device alone: an app "
        "that sends it anyway should know what it tells."
    )
    if figures:
        lines = "\n".join(
            f"| `{name}` | {_figure(figures[name])} | {PRIVACY[name]} |" for name in PRIVACY if name in figures
        )
        text += f"\n\n| | | |\n|---|---|---|\n{lines}"
    return [*found, text]


def recommender_of(manifest: Manifest) -> RecommenderRecord:
    """The block that a recommender cannot do without."""
    assert manifest.recommender is not None
    return manifest.recommender


def recommender_rows(record: RecommenderRecord) -> list[tuple[str, str]]:
    """Catalogue and weights, as the card and `nearfar inspect` show them."""
    parts = (
        ("encoder", record.encoder_weight),
        ("prior", record.prior_weight),
        ("popularity", record.popularity_weight),
    )
    score = " + ".join(f"{weight:.4g} {name}" for name, weight in parts if weight) or "nothing"
    updates = f"those signed by {record.signed_by}" if record.signed_by else "none: no publisher's key is known"
    return [
        ("items", f"{record.items:,}" + (f" ({record.cold:,} by content alone)" if record.cold else "")),
        ("score", score),
        ("prior", _counted(record)),
        ("long-term vector", f"an action counts half after {record.half_life:g} more"),
        ("catalogue updates", updates),
        *(
            [("noise", f"{record.noise:.3g} of the long-term vector's length in each component")]
            if record.noise
            else []
        ),
    ]


def _counted(record: RecommenderRecord) -> str:
    """How the prior was counted."""
    if record.prior is None:
        return "none"
    if (by := record.counted) is None:
        return f"what came after what, counted ({record.prior})"
    back = f", and {by.back:g} of the way back" if by.back else ""
    return (
        f"what came within {by.skip} actions after what ({by.reach}), each further one counting {by.decay:g} of the one before{back}; "
        f"smoothing {by.smoothing:g}, damping {by.damping:g}, recency {by.recency:g} ({record.prior})"
    )


def history_rows(frontend: EventsSettings) -> list[tuple[str, str]]:
    """What counts as an action, as `nearfar inspect` shows it."""
    kinds = ", ".join(f"{kind} {weight:g}" for kind, weight in frontend.actions.items())
    rows = [("history", f"the latest {frontend.length} actions")]
    if kinds:
        other = "refused" if frontend.other is None else f"{frontend.other:g}"
        rows.append(("weights", f"{kinds}; others {other}"))
    accident = f", an accident below {frontend.least_dwell:g} s" if frontend.least_dwell else ""
    rows.append(("dwell", f"counts whole from {frontend.full_dwell:g} s{accident}"))
    if frontend.liked is not None:
        rows.append(("dislike", f"ratings below {frontend.liked:g}"))
    if frontend.context is not None:
        rows.append(("context", ", ".join(column.name for column in frontend.context.columns)))
    return rows


def _figure(metric: Metric) -> str:
    if metric.low is None or metric.high is None:
        return f"{metric.value:.3g}"
    return f"{metric.value:.3g} [{metric.low:.3g}, {metric.high:.3g}]"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
