"""From a recipe's method block to a method."""

from __future__ import annotations

import pytest
from made_methods import SMALL, TinyEncoder, made_settings
from pydantic import ValidationError

from nearfar.errors import RunError
from nearfar.learn.methods.build import build_view_method, views_looked_at


@pytest.mark.parametrize("kind", SMALL)
def test_every_kind_is_built_with_its_defaults(kind: str) -> None:
    encoder = TinyEncoder()
    method = build_view_method(made_settings(kind), encoder, items=50, classes=4)
    assert type(method).__name__ == type(made_settings(kind)).__name__
    assert method.encoder is encoder
    assert method.training


BY_LABELS = ("sup_con", "classifier", "arc_face", "triplet")


@pytest.mark.parametrize("kind", BY_LABELS)
@pytest.mark.parametrize(("classes", "said"), [(0, "have none"), (1, "have 1")])
def test_methods_that_learn_by_labels_need_two_of_them(kind: str, classes: int, said: str) -> None:
    with pytest.raises(RunError, match=f"'{kind}' learns by labels .* {said}: put"):
        build_view_method(made_settings(kind), TinyEncoder(), items=50, classes=classes)
    others = [made_settings(other) for other in SMALL if other not in BY_LABELS]
    assert not any(settings.needs_labels for settings in others)
    for settings in others:
        build_view_method(settings, TinyEncoder(), items=50, classes=0)


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("simclr", {"temperature": 0.0}),
        ("simclr", {"projector": ()}),
        ("moco_v2", {"momentum": 1.0}),
        ("moco_v2", {"queue": 0}),
        ("swav", {"prototypes": 1}),
        ("swav", {"freeze_prototypes": 1.5}),
        ("densecl", {"dense_weight": 2.0}),
        ("vicreg", {"covariance": -1.0}),
        ("classifier", {"label_smoothing": 1.0}),
        ("byol", {"queue": 5}),
    ],
)
def test_values_out_of_range_and_unknown_keys_are_refused(kind: str, keys: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        made_settings(kind, **keys)


def test_one_view_is_enough_where_a_batch_has_several_of_each_label() -> None:
    looked_at = {kind: views_looked_at(made_settings(kind), identity=False) for kind in SMALL}
    assert {kind for kind, count in looked_at.items() if count == 1} == {"classifier", "arc_face", "triplet"}
    assert views_looked_at(made_settings("sup_con"), identity=True) == 1
    assert views_looked_at(made_settings("simclr"), identity=True) is None
