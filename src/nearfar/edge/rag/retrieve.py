"""What to show a language model: the passages that answer a question, as sources, within a budget of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from nearfar.edge.rag.citation import Citation
from nearfar.edge.rag.pack import Count, Hit, Order, Passages, Retrieved, check_limits, pack
from nearfar.edge.rag.texts import only_texts

if TYPE_CHECKING:
    from nearfar.bundle.bundle import Bundle
    from nearfar.edge.distinct import Distinct
    from nearfar.edge.search import Mode

__all__ = ["Citation", "Retrieved", "pack", "retrieve"]


class Searchable(Passages, Protocol):
    """What `retrieve` needs of a search index."""

    @property
    def bundle(self) -> Bundle:
        """What embeds, and counts tokens."""
        ...

    def search(
        self,
        query: str,
        k: int = 10,
        mode: Mode | None = None,
        *,
        where: str | None = None,
        min_score: float | None = None,
        diversity: float | None = None,
        distinct: Distinct = "text",
        rerank: Any = None,
    ) -> Sequence[Hit]:
        """See `SearchIndex.search`."""
        ...


def retrieve(
    index: Searchable,
    question: str,
    budget_tokens: int,
    *,
    k: int = 20,
    mode: Mode | None = None,
    where: str | None = None,
    min_score: float | None = None,
    diversity: float | None = None,
    rerank: Any = None,
    neighbours: int = 0,
    order: Order = "score",
    count: Count | None = None,
) -> Retrieved:
    """Find the passages that answer a question, and make sources of them that fit into a budget.

    Args:
        index: to search in.
        question: in the user's own words.
        budget_tokens: the most tokens that `as_prompt()` of the result may have.
        k: how many passages to find.
        mode: as in `SearchIndex.search`, like `where`, `min_score`, `diversity` and `rerank`.
        where: a condition on metadata. Of an index of several modalities only texts are found in any case.
        min_score: leave out what scores less.
        diversity: from 0 to 1.
        rerank: a cross-encoder.
        neighbours: as in `pack`, like `order`.
        order: of the sources.
        count: the tokens of a text, as the language model counts them. Without it the vocabulary of the bundle counts;
            see `token_counter`.

    Returns:
        The sources; none where nothing was found.

    Raises:
        DataError: the question is blank, or an argument makes no sense.
        StoreError: the index is damaged.
    """
    if count is None:
        from nearfar.edge.rag.token_count import token_counter

        count = token_counter(index.bundle)
    check_limits(budget_tokens, neighbours, order)
    where = only_texts(index.bundle, where)
    hits = index.search(
        question, k, mode, where=where, min_score=min_score, diversity=diversity, distinct="text", rerank=rerank
    )
    return pack(index, question, hits, budget_tokens, count, neighbours=neighbours, order=order)
