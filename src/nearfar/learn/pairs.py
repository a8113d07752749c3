"""Pairs of texts as a workload: what a run directory holds of them, and what a fit trains on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nearfar.embedder import Side
from nearfar.errors import RunError
from nearfar.frontend import TextFrontend
from nearfar.learn.data.batches import PairDataset
from nearfar.learn.data.corpus import Ints, PairCorpus, prepare_corpus
from nearfar.learn.data.split import VALIDATION
from nearfar.learn.data.textfile import TextFile, TokenFile
from nearfar.learn.data.vector_file import Halves
from nearfar.learn.data.whole import write_whole
from nearfar.learn.model import TorchEmbedder, build_frontend, build_method, output_dim
from nearfar.learn.teacher_memory import TeacherMemory
from nearfar.learn.teaching import Taught, TeacherEncoder, is_taught, teach
from nearfar.learn.trained import Trained
from nearfar.learn.trainer.fit import load_weights, planned_steps
from nearfar.learn.trainer.negatives import PairNegatives
from nearfar.learn.trainer.validation import PairRetrieval
from nearfar.learn.trainer.workload import Workload
from nearfar.progress import Stages
from nearfar.recipe import Recipe
from nearfar.recipe.data import SpansPairing
from nearfar.recipe.distil import Distil
from nearfar.recipe.text import StaticEncoder


@dataclass(frozen=True)
class PreparedPairs:
    """The pairs of a run.

    Attributes:
        corpus: what belongs together.
        frontend: text to token ids.
        query_tokens: token ids of the queries.
        document_tokens: token ids of the documents.
        taught: what the teacher said of them, where there is one.
    """

    corpus: PairCorpus
    frontend: TextFrontend
    query_tokens: TokenFile
    document_tokens: TokenFile
    taught: Taught | None = None

    @classmethod
    def open(cls, directory: Path) -> PreparedPairs:
        """Open what `prepare` left in a run directory."""
        data = directory / "data"
        taught = Taught.open(data / "taught") if is_taught(data / "taught") else None
        corpus = PairCorpus.open(data)
        return cls(
            corpus.with_all_documents() if taught is not None and taught.asymmetric else corpus,
            _open_frontend(directory / "frontend"),
            TokenFile(data / "query_tokens"),
            TokenFile(data / "document_tokens"),
            taught,
        )

    @classmethod
    def prepare(
        cls,
        recipe: Recipe,
        directory: Path,
        stages: Stages,
        teacher: Callable[[], TeacherEncoder] | None = None,
    ) -> PreparedPairs:
        """Read and tokenise the data of a recipe, and ask its teacher; what is finished there is taken up as it is.

        Args:
            recipe: what to do.
            directory: of the run.
            stages: told what is being done.
            teacher: opens the teacher that the recipe names; called only where something is still to be asked.

        Raises:
            DataError: where the data cannot be used.
            RunError: where the teacher does not fit.
        """
        data = directory / "data"
        if recipe.teacher is not None and teacher is None and not is_taught(data / "taught"):
            raise RunError(
                f"{directory}: the teacher has not been asked, and there is none to ask: train the recipe by road.train"
            )
        if (data / "corpus.json").is_file():
            corpus = PairCorpus.open(data)
        else:
            corpus = prepare_corpus(recipe.data, data, recipe.seed, stages("reading"))
        if _is_asymmetric(recipe):
            corpus = corpus.with_all_documents()
        frontend = _frontend(recipe, corpus, directory, stages, teacher)
        query_tokens = _tokens(corpus.texts, corpus.query_texts, "query", frontend, data / "query_tokens", stages)
        document_tokens = _tokens(
            corpus.texts, corpus.document_texts, "document", frontend, data / "document_tokens", stages
        )
        taught = None
        if recipe.teacher is not None:
            taught = _taught(recipe, corpus, frontend, document_tokens, data / "taught", teacher, stages)
        return cls(corpus, frontend, query_tokens, document_tokens, taught)

    def workload(self, recipe: Recipe, *, threads: int, say: Callable[[str], None]) -> Workload:
        """What a fit works on; see `Prepared`."""
        frontend = self.frontend
        rows = PairDataset.of(
            self.corpus,
            self.query_tokens,
            self.document_tokens,
            spans=_spans(recipe),
            max_query_tokens=recipe.of_text.frontend.max_query_tokens,
            seed=recipe.seed,
            empty_token=frontend.pad_id,
            query_frame=frontend.frame("query"),
            document_frame=frontend.frame("document"),
        )
        steps = planned_steps(recipe, len(rows))
        memory = None
        settings = recipe.of_text.method
        if isinstance(settings, Distil):
            assert self.taught is not None
            memory = TeacherMemory(self.taught, self.corpus, limit=settings.candidates)
        method = build_method(recipe, frontend, self.document_share(), taught=self.taught, memory=memory)
        validation = None
        if bool((self.corpus.side == VALIDATION).any()):
            validation = PairRetrieval(
                self.corpus,
                self.query_tokens,
                self.document_tokens,
                frontend,
                seed=recipe.seed,
                document_vectors=self.teacher_vectors(recipe),
            )
        negatives = PairNegatives(
            recipe,
            self.corpus,
            self.query_tokens,
            self.document_tokens,
            frontend,
            method,
            total_steps=steps,
            threads=threads,
            say=say,
        )
        metric = recipe.train.early_stop.metric if recipe.train.early_stop else "ndcg_at_10"
        return Workload(rows, method, steps, negatives, validation, shown=metric)

    def trained(self, recipe: Recipe, directory: Path) -> TrainedPairs:
        """The finished run that they belong to."""
        return TrainedPairs(directory, recipe, self)

    def teacher_vectors(self, recipe: Recipe) -> Halves | None:
        """(documents, D) what queries are compared with where documents stay the teacher's; None where the model embeds both."""
        return self.taught.vectors if self.taught is not None and _is_asymmetric(recipe) else None

    def document_share(self) -> npt.NDArray[np.float64]:
        """Share of the training documents that have each token, (vocab_size,)."""
        documents = self.corpus.training_documents()
        counts = np.zeros(self.frontend.vocab_size, dtype=np.int64)
        for number in documents:
            counts[np.unique(self.document_tokens[int(number)])] += 1
        return counts / max(1, len(documents))


@dataclass(frozen=True)
class TrainedPairs(Trained[PairCorpus]):
    """A finished run over pairs of texts."""

    prepared: PreparedPairs

    @property
    def frontend(self) -> TextFrontend:
        """Text to token ids."""
        return self.prepared.frontend

    @property
    def asymmetric(self) -> bool:
        """Whether it learned queries alone, for documents that its teacher embeds."""
        return _is_asymmetric(self.recipe)

    def embedder(self, *, dim: int | None = None) -> TorchEmbedder:
        """The trained model in float, with the best weights of the run."""
        method = build_method(self.recipe, self.frontend)
        load_weights(method, self.directory / "checkpoints" / "best.ckpt")
        return TorchEmbedder(method, self.frontend, dim=dim)

    def untrained(self) -> TorchEmbedder:
        """The same model as it was before the first step."""
        share, taught = self.prepared.document_share(), self.prepared.taught
        return TorchEmbedder(build_method(self.recipe, self.frontend, share, taught=taught), self.frontend)


def _open_frontend(folder: Path) -> TextFrontend:
    return TextFrontend.load(folder, json.loads((folder / "settings.json").read_text("utf-8")))


def _is_asymmetric(recipe: Recipe) -> bool:
    settings = recipe.of_text.method
    return isinstance(settings, Distil) and settings.asymmetric


def _spans(recipe: Recipe) -> SpansPairing | None:
    """How spans are drawn. Beside the teacher's vector of a document the student sees the same document: whole."""
    found = next((p for p in recipe.data.pairings if isinstance(p, SpansPairing)), None)
    settings = recipe.of_text.method
    if found is not None and isinstance(settings, Distil) and not settings.pairs:
        return found.model_copy(update={"keep": 1.0})
    return found


def _taught(
    recipe: Recipe,
    corpus: PairCorpus,
    frontend: TextFrontend,
    document_tokens: TokenFile,
    folder: Path,
    teacher: Callable[[], TeacherEncoder] | None,
    stages: Stages,
) -> Taught:
    if is_taught(folder):
        return Taught.open(folder)
    assert teacher is not None
    _, encoder, settings = recipe.of_text
    assert isinstance(settings, Distil)
    return teach(
        folder,
        teacher(),
        corpus,
        frontend,
        document_tokens,
        dim=output_dim(encoder),
        starts=isinstance(encoder, StaticEncoder) and encoder.start == "teacher",
        damped=isinstance(encoder, StaticEncoder) and encoder.term_frequency == "sqrt",
        asymmetric=settings.asymmetric,
        same=settings.same,
        threads=os.cpu_count() or 1,
        stages=stages,
    )


def _frontend(
    recipe: Recipe,
    corpus: PairCorpus,
    directory: Path,
    stages: Stages,
    teacher: Callable[[], TeacherEncoder] | None = None,
) -> TextFrontend:
    folder = directory / "frontend"
    settings = folder / "settings.json"
    if not settings.is_file():
        folder.mkdir(exist_ok=True)

        def counted() -> Iterator[str]:
            # Begun with the first text: a teacher may have to be imported before.
            tick = stages("learning the vocabulary")
            for text in corpus.training_texts():
                tick(1)
                yield text

        write_whole(settings, json.dumps(build_frontend(recipe, counted(), teacher).save(folder), indent=1))
    return _open_frontend(folder)


def _tokens(
    texts: TextFile, numbers: Ints, side: Side, frontend: TextFrontend, stem: Path, stages: Stages
) -> TokenFile:
    """Token ids of some texts; written once."""
    done = stem.with_suffix(".done")
    if done.is_file():
        return TokenFile(stem)
    tick = stages("tokenising queries" if side == "query" else "tokenising documents", len(numbers))

    def encoded() -> Iterator[npt.NDArray[np.int32]]:
        for start in range(0, len(numbers), 1024):
            block = [texts[int(number)] for number in numbers[start : start + 1024]]
            yield from frontend.encode(block, side)
            tick(len(block))

    tokens = TokenFile.write(stem, encoded())
    done.touch()
    return tokens
