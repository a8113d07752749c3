"""What a recipe for events would do with them, in a few lines for a person."""

from __future__ import annotations

from nearfar.recipe.data import Split
from nearfar.recipe.events import ActedTogetherPairing, EventsSource, NextActionPairing, Recommend


def weights_told(source: EventsSource) -> str:
    """How much which event counts."""
    weights = source.weights
    kinds = [f"{kind} {weight:g}" for kind, weight in weights.actions.items()]
    kinds += [f"others {weights.other:g}"] if weights.other is not None else []
    parts = [", ".join(kinds) or "every row 1"]
    if source.columns.dwell is not None:
        parts.append(f"less where {source.columns.dwell} is below {weights.full_dwell:g} s")
    if weights.liked is not None:
        parts.append(f"dislike where {source.columns.rating} is below {weights.liked:g}")
    return "; ".join(parts)


def filters_told(source: EventsSource) -> str:
    """Which events are no evidence."""
    filters = source.filters
    parts = [f"shorter than {filters.least_dwell:g} s"] if filters.least_dwell else []
    if source.columns.user is not None:
        parts.append(f"again within {filters.repeat:g} s")
        parts += [f"of more than {filters.most_per_hour:,} an hour"] if filters.most_per_hour is not None else []
        parts.append(f"of users with fewer than {filters.least_of_user}")
    rare = "known by content alone" if source.items is not None and source.items.cold else "left out"
    return f"{', '.join(parts) or 'none'}; items with fewer than {filters.least_of_item}: {rare}"


def items_told(source: EventsSource) -> str:
    """What is known of the items."""
    if source.items is None:
        return "known by what is done with them alone"
    columns, items = source.items.columns, source.items
    named = [name for name in (columns.title, columns.image) if name is not None]
    named += [*columns.texts, *columns.categories, *columns.numbers]
    bundles = [bundle.name for bundle in (items.image_bundle, items.text_bundle) if bundle is not None]
    by = f", seen by {' and '.join(bundles)}" if bundles else ""
    return f"{', '.join(dict.fromkeys(named)) or 'names'} in {items.path.name}{by}"


def ranking_told(recommend: Recommend) -> str:
    """How the device ranks."""
    shares = {
        "auto": "encoder and prior, as validation chooses",
        "encoder": "encoder alone",
        "prior": "prior alone",
    }
    prior = recommend.prior
    reaches = " or ".join(f"{each.skip} actions {each.reach}" for each in prior.counted)
    counted = f"; prior over {reaches}, up to {prior.mb:g} MB" if prior.mb else "; no prior"
    signed = "updates by its publisher" if recommend.signed_by is not None else "no updates of the catalogue"
    return f"{shares[recommend.blend]}{counted}; {signed}"


def pairing_told(pairing: NextActionPairing | ActedTogetherPairing) -> str:
    """What belongs together."""
    if isinstance(pairing, NextActionPairing):
        ahead = f"the next {pairing.window} actions, each further one by {pairing.decay:g}"
        return f"what a user did and {'the next action' if pairing.window == 1 else ahead}"
    within = f" and {pairing.seconds:g} s" if pairing.seconds is not None else ""
    return f"items acted on within {pairing.window} actions{within} of each other (weight {pairing.weight:g})"


def split_told(split: Split) -> str:
    """What is held out."""
    if split.by == "last_actions":
        parts = [name for name, share in (("to test", split.test), ("to validate", split.validation)) if share]
        told = [
            f"{which} {what}" for which, what in zip(("each user's last action", "the one before"), parts, strict=False)
        ]
        return ", ".join(told) or "nothing"
    return f"by time: the latest {100 * split.test:g}% to test, the {100 * split.validation:g}% before to validate"
