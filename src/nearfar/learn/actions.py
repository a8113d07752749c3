"""What users did as a workload: what a run directory holds of it, and what a fit trains on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from nearfar.errors import RunError
from nearfar.frontend.events import EventsFrontend
from nearfar.learn.data.action_cases import ranking_task
from nearfar.learn.data.actions import WHOLE, ActionCorpus, Content
from nearfar.learn.data.history_batches import TrainingHistories, training_lengths
from nearfar.learn.data.item_content import Embed
from nearfar.learn.data.prepare_actions import prepare_actions
from nearfar.learn.data.split import TRAIN, VALIDATION
from nearfar.learn.encoders.build_sequence import build_sequence_encoder
from nearfar.learn.encoders.item_start import item_start
from nearfar.learn.encoders.item_tower import ItemTower
from nearfar.learn.export.sequence import Feed, SequenceGraph, choose_sequence_graph
from nearfar.learn.methods.next_action import NextAction
from nearfar.learn.trained import Trained
from nearfar.learn.trainer.actions import ActionRanker, HistorySteps, OnlineRanking, item_table
from nearfar.learn.trainer.fit import load_weights, planned_steps
from nearfar.learn.trainer.workload import Workload
from nearfar.learn.views.events import CopyRules
from nearfar.progress import Stages
from nearfar.recipe import Recipe
from nearfar.recipe.events import ActedTogetherPairing, NextActionPairing

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PreparedActions:
    """The actions of a run.

    Attributes:
        corpus: who acted on what, when, and on which side of the split.
    """

    corpus: ActionCorpus

    @classmethod
    def open(cls, directory: Path) -> PreparedActions:
        """Open what `prepare` left in a run directory."""
        return cls(ActionCorpus.open(directory / "data"))

    @classmethod
    def prepare(cls, recipe: Recipe, directory: Path, stages: Stages, embed: Embed | None = None) -> PreparedActions:
        """Read the events of a recipe; what is finished is taken up as it is.

        Args:
            recipe: what to do.
            directory: of the run.
            stages: told what is being done.
            embed: makes vectors of pictures and texts of items, where the recipe names bundles for that.

        Raises:
            DataError: where the data cannot be used.
        """
        data = directory / "data"
        if (data / WHOLE).is_file():
            return cls.open(directory)
        tick = stages("reading")
        facts = recipe.of_events.recommend.facts
        corpus = prepare_actions(recipe.data, recipe.of_events.frontend, data, tick, facts=facts, embed=embed)
        counts = corpus.counts
        cold = f", {counts.cold} of them without actions" if counts.cold else ""
        tick(0, f"{counts.users} users, {counts.items} items{cold}")
        return cls(corpus)

    def workload(self, recipe: Recipe, *, threads: int, say: Callable[[str], None]) -> Workload:
        """What a fit works on; see `Prepared`."""
        corpus = self.corpus
        _, _, views, _, settings, _ = recipe.of_events
        rules = None
        if views.weight:
            rules = CopyRules(views, _alike(corpus))
        rows = TrainingHistories.of(
            corpus,
            _next(recipe),
            together=_together(recipe),
            copies=rules,
            impressions=settings.impressions > 0,
            seed=recipe.seed,
        )
        steps = planned_steps(recipe, len(rows))
        method = build_method(recipe, corpus, counted=True)
        validation = None
        task = ranking_task(corpus, VALIDATION)
        if len(task.targets):
            most = recipe.evaluate.max_queries
            validation = OnlineRanking(task, EventsFrontend(corpus.settings), most=most, seed=recipe.seed)
        return Workload(rows, method, steps, HistorySteps(method, total_steps=steps), validation, "ndcg_at_10")

    def trained(self, recipe: Recipe, directory: Path) -> TrainedActions:
        """The finished run that they belong to."""
        return TrainedActions(directory, recipe, self)


@dataclass(frozen=True)
class TrainedActions(Trained[ActionCorpus]):
    """A finished run over what users did."""

    prepared: PreparedActions

    @property
    def frontend(self) -> EventsFrontend:
        """Histories to what the encoder takes, as on the device."""
        return EventsFrontend(self.corpus.settings)

    def method(self) -> NextAction:
        """The trained method, with the best weights of the run."""
        method = build_method(self.recipe, self.corpus)
        load_weights(method, self.directory / "checkpoints" / "best.ckpt")
        return method.eval()

    def item_vectors(self) -> Floats:
        """Vectors (items, d) of all items, of cold ones by their content."""
        return item_table(self.method())

    def ranker(self) -> ActionRanker:
        """The trained model in float."""
        return ActionRanker(self.method(), self.frontend)

    def untrained_ranker(self) -> ActionRanker:
        """The same model with weights drawn at random: nothing of it was counted or learned, and popularity has no share."""
        method = build_method(self.recipe, self.corpus)
        with torch.no_grad():
            method.popularity.zero_()
        return ActionRanker(method, self.frontend)

    def popularity_weight(self) -> float:
        """How much the log of its popularity adds to the score of an item, as it was trained beside the vectors."""
        return float(self.method().popularity.detach())

    def vectors_of_content(self, content: Content) -> Floats:
        """Vectors (n, d) of n new items, whose tokens are of the vocabulary of the run.

        Raises:
            RunError: the run knows nothing of its items but their names.
        """
        method = self.method()
        if method.items.content is None:
            raise RunError(
                f"{self.directory} has learned nothing of what items are like, so it has no vectors of new ones: train with a table of "
                "items (data.source.items)"
            )
        with torch.no_grad():
            vectors: Floats = method.vectors_of_content(content).float().cpu().numpy()
        return vectors

    def export_graph(self, quantise: str) -> SequenceGraph:
        """The graph of the encoder of histories, in int8 where that is asked for and keeps its vectors.

        Args:
            quantise: `int8` or `none`.
        """
        method = self.method()
        settings = self.recipe.of_events.method
        return choose_sequence_graph(
            method.tower,
            self.examples(method),
            length=self.corpus.settings.length,
            features=self.frontend.features,
            quantise=quantise,
            cosine=settings.cosine,
            temperature=settings.temperature,
        )

    def examples(self, method: NextAction, most: int = 256) -> Feed:
        """Histories at the end of training, of users drawn at random, as the graph takes them."""
        corpus, frontend = self.corpus, self.frontend
        users = np.flatnonzero(training_lengths(corpus) > 0)
        users = np.sort(np.random.default_rng([self.recipe.seed, 5]).permutation(users)[:most])
        begin = corpus.offsets[users]
        end = begin + training_lengths(corpus)[users]
        now = corpus.times[end - 1]
        feed: Feed = frontend.batch(item_table(method), corpus.items, corpus.times, corpus.weights, begin, end, now)
        if frontend.features:
            feed |= {"values": corpus.values[end - 1], "codes": corpus.codes[end - 1]}
        return feed


def build_method(recipe: Recipe, corpus: ActionCorpus, *, counted: bool = False) -> NextAction:
    """The method of a recipe with fresh weights, drawn from the recipe's seed.

    Args:
        recipe: what to do.
        corpus: how many items there are, and what is known of them.
        counted: whether vectors of items begin at what counting finds, see `item_start`; otherwise they are drawn.
    """
    _, _, views, encoder, settings, _ = recipe.of_events
    trained = corpus.side == TRAIN
    counts = np.bincount(corpus.items[trained], minlength=len(corpus.names)).astype(np.float64)
    torch.manual_seed(recipe.seed)
    items = ItemTower(len(corpus.names), warm=corpus.warm, dim=encoder.dim, content=corpus.content)
    frontend = EventsFrontend(corpus.settings)
    tower = build_sequence_encoder(
        encoder,
        length=corpus.settings.length,
        gaps=len(corpus.settings.gaps) + 1,
        context=() if frontend.context is None else frontend.context.widths,
    )
    if counted:
        own = np.flatnonzero(trained & (corpus.items < corpus.warm))
        owners = np.searchsorted(corpus.offsets, own, side="right")
        start = item_start(corpus.items[own], owners, corpus.warm, encoder.dim, seed=recipe.seed)
        with torch.no_grad():
            items.own.weight.copy_(torch.from_numpy(start))
    together = _together(recipe)
    return NextAction(
        items,
        tower,
        settings,
        counts=counts,
        content_only=encoder.content_only,
        copies=(views.weight, views.temperature),
        together=together.weight if together is not None else 0.0,
        seed=recipe.seed,
    )


def _next(recipe: Recipe) -> NextActionPairing:
    return next(rule for rule in recipe.data.pairings if isinstance(rule, NextActionPairing))


def _together(recipe: Recipe) -> ActedTogetherPairing | None:
    return next((rule for rule in recipe.data.pairings if isinstance(rule, ActedTogetherPairing)), None)


def _alike(corpus: ActionCorpus) -> npt.NDArray[np.int64]:
    """For each item (items,) the one that is acted on most often together with it; itself where none is."""
    from nearfar.evaluate.transitions import count_transitions

    trained = corpus.side == TRAIN
    owners = np.searchsorted(corpus.offsets, np.flatnonzero(trained), side="right")
    count = len(corpus.names)
    together = count_transitions(corpus.items[trained], owners, count, back=1.0)
    together.setdiag(0)
    best = np.asarray(together.argmax(axis=1)).ravel()
    some = np.asarray(together.max(axis=1).todense()).ravel() > 0
    return np.where(some, best, np.arange(count)).astype(np.int64)
