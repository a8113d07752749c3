"""The dual encoder's loss: what counts as a negative, the Matryoshka prefixes, the towers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_models import STATIC, made_model
from torch import Tensor

from nearfar.learn.data.batches import PairBatch, Tokens
from nearfar.learn.encoders.static import StaticTextEncoder
from nearfar.learn.losses import Match, Negatives, info_nce
from nearfar.learn.methods.dual_encoder import DualEncoder, Embedded
from nearfar.recipe.negatives import Negatives as NegativeSettings
from nearfar.recipe.pair_method import DualEncoder as Settings
from nearfar.recipe.pair_method import Temperature
from nearfar.recipe.text import StaticEncoder

DIM = 16


def made_method(*, matryoshka: tuple[int, ...] = (), learned: bool = False, separate: bool = False) -> DualEncoder:
    torch.manual_seed(0)
    towers = [StaticTextEncoder(StaticEncoder(kind="static", dim=DIM), vocab_size=40) for _ in range(2)]
    temperature = Temperature(initial=0.2, learned=learned)
    return DualEncoder(
        towers[0], towers[1 if separate else 0], Settings(matryoshka=matryoshka, temperature=temperature)
    )


def by_loop(embedded: Embedded, temperature: float, dims: list[int], further: Sequence[Negatives] = ()) -> Tensor:
    """The loss with sets and loops instead of masks; further negatives are for the queries' direction alone."""
    n, total = len(embedded.queries), torch.zeros((), dtype=torch.float64)
    all_candidates = torch.cat([embedded.documents, embedded.negatives])
    candidate_ids = [*embedded.document_ids.tolist(), *embedded.negative_ids.tolist()]
    query_ids = embedded.query_ids.tolist()
    positives = [set(row) - {-1} for row in embedded.positive_ids.tolist()]

    def is_negative(query: int, candidate: int) -> bool:
        if candidate_ids[candidate] in positives[query]:
            return False
        return not (candidate < n and query_ids[candidate] == query_ids[query])

    def is_ignored(match: Match, query: int, place: int) -> bool:
        return int(match.candidates[place]) in set(match.anchors[query].reshape(-1).tolist()) - {-1}

    def more_of(query: int, dim: int) -> list[Tensor]:
        return [
            vector[:dim].double()
            for vectors, ignored in further
            for place, vector in enumerate(vectors)
            if not any(is_ignored(match, query, place) for match in ignored)
        ]

    def term(anchor: Tensor, own: Tensor, negatives: list[Tensor]) -> Tensor:
        cosines = [torch.cosine_similarity(anchor, other, dim=0) / temperature for other in [own, *negatives]]
        return torch.logsumexp(torch.stack(cosines), dim=0) - cosines[0]

    for dim in dims:
        queries, candidates = embedded.queries[:, :dim].double(), all_candidates[:, :dim].double()
        for i in range(n):
            others = [candidates[j] for j in range(len(candidates)) if j != i and is_negative(i, j)]
            total += term(queries[i], candidates[i], others + more_of(i, dim)) / n / 2
            others = [queries[j] for j in range(n) if j != i and is_negative(j, i)]
            total += term(candidates[i], queries[i], others) / n / 2
    return total / len(dims)


def check_against_loop(
    method: DualEncoder, embedded: Embedded, dims: list[int], further: Sequence[Negatives] = ()
) -> None:
    """Loss and gradients."""
    vectors = [field.requires_grad_() for field in embedded if field.is_floating_point()]
    loss, expected = method.loss(embedded, further), by_loop(embedded, 0.2, dims, further)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4, abs=1e-5)
    gradients = [torch.autograd.grad(each, vectors, allow_unused=True) for each in (loss, expected)]
    for found, wanted, vector in zip(*gradients, vectors, strict=True):
        zero = torch.zeros_like(vector)
        found, wanted = (zero if gradient is None else gradient for gradient in (found, wanted))
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)


@st.composite
def batches(draw: st.DrawFn) -> Embedded:
    """Few ids, so that duplicates, shared positives and equal queries are common."""
    n, m = draw(st.integers(1, 5)), draw(st.integers(0, 4))
    candidate_ids = draw(st.lists(st.integers(0, 5), min_size=n + m, max_size=n + m))
    positives = [
        draw(st.sets(st.integers(0, 5), max_size=3)) | {own} for own in candidate_ids[:n]
    ]  # what is drawn for a query is always one of its positives
    width = max(len(own) for own in positives)
    source = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    return Embedded(
        torch.randn(n, DIM, generator=source),
        torch.randn(n, DIM, generator=source),
        torch.randn(m, DIM, generator=source),
        torch.tensor(draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))),
        torch.tensor(candidate_ids[:n]),
        torch.tensor(candidate_ids[n:], dtype=torch.int64),
        torch.tensor([sorted(own) + [-1] * (width - len(own)) for own in positives]),
        torch.arange(n),
    )


@settings(max_examples=80, deadline=None)
@given(batches())
def test_only_what_is_neither_duplicate_nor_positive_nor_of_an_equal_query_is_a_negative(embedded: Embedded) -> None:
    check_against_loop(made_method(), embedded, [DIM])


@settings(max_examples=20, deadline=None)
@given(batches())
def test_prefixes_are_averaged(embedded: Embedded) -> None:
    method = made_method(matryoshka=(8, 4))
    assert method.dims == [DIM, 8, 4]
    check_against_loop(method, embedded, [DIM, 8, 4])


@st.composite
def stores(draw: st.DrawFn, anchors: int) -> Negatives:
    """Stored vectors of unit length, with rules by several keys and by one, as queue and bank have them."""
    k, source = draw(st.integers(0, 5)), torch.Generator().manual_seed(draw(st.integers(0, 1000)))

    def keys(*shape: int) -> Tensor:
        return torch.randint(-1, 4, shape, generator=source)

    vectors = torch.nn.functional.normalize(torch.randn(k, DIM, generator=source), dim=-1)
    return Negatives(vectors, (Match(keys(anchors, 2), keys(k)), Match(keys(anchors), keys(k))))


@settings(max_examples=60, deadline=None)
@given(batches(), st.data())
def test_further_negatives_are_for_the_queries_and_cut_to_the_prefix(embedded: Embedded, data: st.DataObject) -> None:
    """The stored vectors have unit length; their prefixes do not, and are compared by cosine all the same."""
    count = len(embedded.queries)
    further = [data.draw(stores(count)) for _ in range(data.draw(st.integers(0, 2)))]
    check_against_loop(made_method(matryoshka=(8, 4)), embedded, [DIM, 8, 4], further)


def test_in_double_precision_further_negatives_agree_to_twelve_digits() -> None:
    source = torch.Generator().manual_seed(3)

    def draw(count: int) -> Tensor:
        return torch.randn(count, DIM, generator=source, dtype=torch.float64)

    own = torch.arange(6)
    embedded = Embedded(draw(6), draw(6), draw(2), own, own, torch.tensor([1, 7]), own[:, None], own)
    further = [Negatives(draw(9), (Match(own[:, None], own.new_tensor([0, 0, 3, 8, 9, 9, -1, 5, 2])),))]
    method = made_method(matryoshka=(8,)).double()
    with torch.no_grad():
        method.log_temperature.fill_(math.log(0.2))
    expected = by_loop(embedded, 0.2, [DIM, 8], further)
    assert float(method.loss(embedded, further)) == pytest.approx(float(expected), rel=1e-12)
    assert float(expected) != pytest.approx(float(by_loop(embedded, 0.2, [DIM, 8])), rel=1e-3)


RULES = {
    "margin": NegativeSettings(margin=0.05),
    "debias": NegativeSettings(debias=0.02),
    "hardness": NegativeSettings(hardness=0.7),
    "all": NegativeSettings(margin=0.1, debias=0.01, hardness=0.5),
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_the_rules_of_the_recipe_reach_the_loss(rules: NegativeSettings) -> None:
    source = torch.Generator().manual_seed(4)

    def draw(count: int) -> Tensor:
        return torch.randn(count, DIM, generator=source)

    own = torch.arange(8)
    embedded = Embedded(draw(8), draw(8), draw(3), own, own, torch.tensor([20, 21, 22]), own[:, None], own)
    further = [Negatives(draw(30), (Match(own, own.new_tensor([0, 1] * 15)),))]
    towers = [StaticTextEncoder(StaticEncoder(kind="static", dim=DIM), vocab_size=40)] * 2
    method_settings = Settings(matryoshka=(8,), temperature=Temperature(initial=0.2, learned=False))
    method = DualEncoder(*towers, method_settings, rules)
    candidates = torch.cat([embedded.documents, embedded.negatives])
    by_hand = [
        info_nce(
            embedded.queries[:, :dim],
            candidates[:, :dim],
            own,
            temperature=0.2,
            negatives=[Negatives(further[0].vectors[:, :dim], further[0].ignored)],
            symmetric=True,
            margin=rules.margin,
            debias=rules.debias,
            hardness=rules.hardness,
        )
        for dim in (DIM, 8)
    ]
    found = float(method.loss(embedded, further))
    assert found == pytest.approx(float(torch.stack(by_hand).mean()), rel=1e-6)
    plain = DualEncoder(*towers, method_settings)
    assert found != pytest.approx(float(plain.loss(embedded, further)), rel=1e-3), "the rule changes nothing here"


def test_the_rules_come_from_the_negatives_block() -> None:
    method, _ = made_model(STATIC, "negatives={margin: 0.1, debias: 0.02, hardness: 0.5}")
    assert (method.rules.margin, method.rules.debias, method.rules.hardness) == (0.1, 0.02, 0.5)


def test_an_explicit_negative_pushes_and_a_duplicate_of_the_positive_does_not() -> None:
    method = made_method()
    queries, documents = torch.randn(2, DIM), torch.randn(2, DIM)

    def with_negative(number: int, vector: Tensor) -> Embedded:
        own = torch.arange(2)
        return Embedded(queries, documents, vector[None], own, own, torch.tensor([number]), own[:, None], own)

    def loss_with(number: int, vector: Tensor) -> Tensor:
        return method.loss(with_negative(number, vector))

    extra = queries[0].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss_with(7, extra), extra)
    assert gradient.norm() > 0.01
    assert float(loss_with(7, queries[0])) > float(loss_with(7, -queries[0]))
    # The text of document 0 given as a negative of query 1: still no negative of query 0.
    only_for_second = loss_with(0, extra)
    expected = by_loop(with_negative(0, extra.detach()), 0.2, [DIM])
    assert float(only_for_second.detach()) == pytest.approx(float(expected), rel=1e-4)


def test_the_temperature_is_learned_only_where_asked_for_and_within_bounds() -> None:
    own, none = torch.arange(3), torch.zeros(0, dtype=torch.int64)
    embedded = Embedded(
        torch.randn(3, DIM), torch.randn(3, DIM), torch.zeros(0, DIM), own, own, none, own[:, None], rows=own
    )
    for learned in (False, True):
        method = made_method(learned=learned)
        assert float(method.temperature.detach()) == pytest.approx(0.2)
        if learned:
            method.loss(embedded).backward()
            assert method.log_temperature.grad is not None
            assert float(method.log_temperature.grad) != 0.0
        assert method.log_temperature.requires_grad is learned
    with torch.no_grad():
        method.log_temperature.fill_(math.log(1e-9))
        assert float(method.temperature) == pytest.approx(0.005)
        method.log_temperature.fill_(5.0)
        assert float(method.temperature) == 1.0


@pytest.mark.parametrize("separate", [False, True])
def test_each_side_goes_through_its_tower(separate: bool) -> None:
    method = made_method(separate=separate)

    def text(*ids: int) -> Tokens:
        return Tokens(torch.tensor(ids), torch.tensor([1] * len(ids)))

    batch = PairBatch(
        text(3, 4),
        text(3, 5),
        text(6),
        query_ids=torch.tensor([7, 8]),
        document_ids=torch.tensor([0, 1, 2]),
        positive_ids=torch.arange(2)[:, None],
        rows=torch.tensor([5, -1]),
    )
    embedded = method.embed(batch)
    assert embedded.queries.shape == (2, DIM)
    assert embedded.documents.shape == (2, DIM)
    assert embedded.negatives.shape == (1, DIM)
    assert torch.equal(embedded.queries[0], method.query_tower.table[3])
    assert torch.equal(embedded.documents[0], method.document_tower.table[3])
    assert torch.equal(embedded.negatives[0], method.document_tower.table[6])
    assert torch.equal(embedded.queries[0], embedded.documents[0]) is not separate
    ids = (embedded.query_ids, embedded.document_ids, embedded.negative_ids, embedded.positive_ids)
    assert [each.tolist() for each in ids] == [[7, 8], [0, 1], [2], [[0], [1]]]
    assert embedded.rows.tolist() == [5, -1]
