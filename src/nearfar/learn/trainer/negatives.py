"""The negatives of a step of pairs from beyond its batch: mined for it before, given to its loss, remembered after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nearfar.embedder import Side
from nearfar.frontend import TextFrontend
from nearfar.learn.data.batches import PairBatch, Tokens
from nearfar.learn.data.corpus import Ints, PairCorpus
from nearfar.learn.data.split import TRAIN
from nearfar.learn.data.textfile import TokenFile
from nearfar.learn.losses import Match, Negatives
from nearfar.learn.methods.dual_encoder import DualEncoder, Embedded
from nearfar.learn.model import TorchEmbedder
from nearfar.learn.negatives import (
    Group,
    Known,
    NegativeSources,
    Source,
    ledger,
    mine,
    mine_by_bm25,
    positives_within,
    relatives_within,
)
from nearfar.learn.negatives.ranks import gathered, order_of_one
from nearfar.recipe.schema import Recipe

_TEXTS_AT_A_TIME = 8_192


class _Keys(NamedTuple):
    vectors: Tensor


class PairNegatives:
    """What the recipe's negatives block asks for, on a corpus of pairs.

    Args:
        recipe: negatives, seed and chunk.
        corpus: what belongs together.
        query_tokens: token ids of its queries.
        document_tokens: token ids of its documents.
        frontend: for padding, and how the vocabulary cuts identifiers.
        method: whose document tower a momentum encoder follows.
        total_steps: of the whole run.
        threads: of searching a graph.
        say: told what is going on when a step takes long.

    Attributes:
        sources: the state; a module, so that it is in the checkpoint.
    """

    def __init__(
        self,
        recipe: Recipe,
        corpus: PairCorpus,
        query_tokens: TokenFile,
        document_tokens: TokenFile,
        frontend: TextFrontend,
        method: DualEncoder,
        *,
        total_steps: int,
        threads: int = 1,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.recipe, self.corpus, self.frontend, self.method = recipe, corpus, frontend, method
        self.query_tokens, self.document_tokens = query_tokens, document_tokens
        self.threads, self._say = threads, say
        self.sources = NegativeSources(
            recipe.negatives,
            dim=method.document_tower.dim,
            items=len(corpus.document_texts),
            queries=len(corpus.query_texts),
            total_steps=total_steps,
            seed=recipe.seed,
            encoder=method.document_tower,
        )
        # Only what is mined has to be told whose it is; it takes a pass over all positives.
        self._owners = Known.of(corpus, corpus.queries_of(TRAIN)).document_owners if recipe.negatives.mined else None

    @property
    def note(self) -> str:
        """Nothing: what the ledger says takes a table."""
        return ""

    def before(self, batch: PairBatch, step: int) -> PairBatch:
        """The batch with the mined negatives of its anchors; mines first, if that is due."""
        mined = self.sources.mined
        if mined is None:
            return batch
        if mined.is_due(step):
            mined.replace(self._mine(), step)
        drawn = mined.drawn(batch.rows.cpu().numpy(), step)
        numbers = drawn[drawn >= 0]
        if not len(numbers):
            return batch
        device = batch.rows.device
        tokens = Tokens.of([self.document_tokens[int(n)] for n in numbers], self.frontend.pad_id)
        return batch._replace(
            negatives=Tokens(
                *(torch.cat([old, new.to(device)]) for old, new in zip(batch.negatives, tokens, strict=True))
            ),
            document_ids=torch.cat([batch.document_ids, torch.from_numpy(numbers).to(device)]),
        )

    def given(self, embedded: Embedded, step: int) -> tuple[Embedded, tuple[Source, ...]]:
        """What the loss has from queue and bank; and the batch, told of every positive that came with these or was mined."""
        sources = self.sources.negatives(step)
        if not sources and self.sources.mined is None:
            return embedded, ()
        ids = [embedded.document_ids, embedded.negative_ids, *(source.contents.ids for source in sources)]
        here = np.unique(torch.cat(ids).cpu().numpy())
        listed = positives_within(self.corpus.positives, self.corpus.positive_starts, embedded.rows.cpu().numpy(), here)
        if self._owners is not None:
            # What was mined for one anchor may belong to a relative of another; batch, queue and bank say so themselves.
            mined = embedded.negative_ids.cpu().numpy()
            owners = embedded.query_ids.cpu().numpy()
            listed = np.concatenate([listed, relatives_within(owners, mined, self._owners[mined])], axis=1)
        own = embedded.document_ids.unsqueeze(1)  # of a span, which has no row, the only one
        return embedded._replace(positive_ids=torch.cat([own, torch.from_numpy(listed).to(own.device)], 1)), sources

    def remember(self, batch: PairBatch, embedded: Embedded, step: int) -> None:
        """Store the documents of a step, after its loss.

        Args:
            batch: what this rank has.
            embedded: of all ranks.
            step: of the batch.
        """
        self.sources.follow(step, self.method.document_tower)
        keys = None
        if self.sources.momentum is not None and self.sources.wants_keys(step):
            size = self.recipe.train.chunk or len(batch.rows)
            parts = [self.sources.momentum(part.documents) for part in batch.split(size)]
            keys = gathered(_Keys(torch.cat(parts))).vectors
        # In the order that one process would have: what falls out of a full queue depends on it.
        order = order_of_one(len(embedded.document_ids)).to(
            keys.device if keys is not None else embedded.documents.device
        )
        documents, ids, owners = embedded.documents.detach(), embedded.document_ids, embedded.query_ids
        if keys is not None:
            keys = keys[order]
        self.sources.remember(step, documents[order], ids[order], owners[order], keys=keys)

    def ledger(self, embedded: Embedded, sources: Sequence[Source]) -> dict[str, float]:
        """Where the negatives of a step come from and how hard they are, as figures for a log."""
        owners, positives = embedded.query_ids, embedded.positive_ids
        places = torch.arange(len(owners), device=owners.device)
        own = Match(places, places)
        known = Match(positives, embedded.document_ids), Match(owners, owners)
        groups = [Group("batch", embedded.documents, (("positive", own), ("positive", known[0]), ("owner", known[1])))]
        if len(embedded.negative_ids):
            given = any(getattr(pairing, "negative", None) for pairing in self.recipe.data.pairings)
            name = "mined" if not given else "explicit" if self.sources.mined is None else "explicit_and_mined"
            groups.append(Group(name, embedded.negatives, (("positive", Match(positives, embedded.negative_ids)),)))
        groups += [source.group(owners, positives) for source in sources]
        found = ledger(
            embedded.queries,
            embedded.documents,
            groups,
            temperature=self.method.temperature.detach(),
            margin=self.recipe.negatives.margin,
        )
        return found.figures()

    def for_loss(self, embedded: Embedded, sources: Sequence[Source]) -> tuple[Negatives, ...]:
        """The sources as the loss takes them."""
        return for_loss(embedded, sources)

    def _mine(self) -> Ints:
        """Negatives (queries, keep) for all training queries, by the weights as they are now."""
        settings = self.recipe.negatives.mined
        assert settings is not None
        queries, documents = self.corpus.queries_of(TRAIN), self.corpus.training_documents()
        known = Known.of(self.corpus, queries)
        depth, keep, skip = settings.depth, settings.keep, settings.skip
        table = np.full((len(self.corpus.query_texts), settings.keep), -1, np.int64)
        self._say("mining negatives")
        if settings.by == "bm25":
            texts = [self.corpus.query(int(q)) for q in queries], [self.corpus.document(int(d)) for d in documents]
            cut = getattr(self.recipe.of_text.frontend.tokenizer, "split_identifiers", False)
            found = mine_by_bm25(
                *texts, known, depth=depth, keep=keep, skip=skip, numbers=documents, split_identifiers=cut
            )
        else:
            of_queries = self._embedded(self.query_tokens, queries, "query")
            of_documents = self._embedded(self.document_tokens, documents, "document")
            if not all(np.isfinite(vectors).all() for vectors in (of_queries, of_documents)):
                return table  # the run has failed, and will say why
            found = mine(
                of_queries,
                of_documents,
                known,
                depth=depth,
                keep=keep,
                skip=skip,
                margin=settings.margin,
                numbers=documents,
                threads=self.threads,
            )
        table[queries] = found.documents
        return table

    def _embedded(self, tokens: TokenFile, numbers: Ints, side: Side) -> npt.NDArray[np.float32]:
        embedder = TorchEmbedder(self.method, self.frontend)
        vectors = np.empty((len(numbers), embedder.dim), np.float32)
        for start in range(0, len(numbers), _TEXTS_AT_A_TIME):
            some = slice(start, start + _TEXTS_AT_A_TIME)
            vectors[some] = embedder.embed_tokens([tokens[int(n)] for n in numbers[some]], side)
        return vectors


def for_loss(embedded: Embedded, sources: Sequence[Source]) -> tuple[Negatives, ...]:
    """The sources as the loss takes them."""
    return tuple(source.negatives(embedded.query_ids, embedded.positive_ids) for source in sources)
