"""Apps over embeddings: labels from a few examples, clusters, duplicates.

Labels: CLINC150, 150 intents with 5 and 10 examples each, tested on its 4,500 test queries and 1,000 that fit no intent. The
encoder is all-MiniLM-L6-v2 in int8, run as a bundle; beside it stands logistic regression on TF-IDF of the same examples.
`*_accuracy` answers everything that has an intent; `*_coverage`, `*_precision` and `*_refused` are what the threshold that was
chosen on the examples does: share of queries with an intent that are answered, share of all answers that are right (unfit
queries are a fifth here, while a tenth was reckoned with), share of the unfit queries that are refused.

Clusters: the same queries without their labels, the number of clusters chosen (`clusters`), compared with the 150 intents by
the adjusted Rand index; beside it the index where 150 is given.

Duplicates: texts of the test queries and docstrings with planted copies (case and signs, a word in twenty, the last tenth cut off, a note
before it, typos), and others that share two thirds of their words and are no duplicates. `duplicates_found` and
`duplicates_wrong` are the shares of each that are found, by the threshold that the texts themselves give.

Without --data, and with --quick, texts are made of invented words and the encoder is a random one: that shows that everything runs.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nearfar.bundle import Bundle, BundleWriter, Manifest, Provenance, Tower, render_card
from nearfar.edge.collections.classify import Classifier
from nearfar.edge.collections.cluster import find_clusters
from nearfar.edge.collections.collection import collect_texts
from nearfar.edge.collections.fit_head import fit_head, store_head
from nearfar.edge.collections.gather import Gathered
from nearfar.edge.collections.near_duplicates import near_duplicates
from nearfar.edge.encoder import Encoder
from nearfar.evaluate import mean_interval
from nearfar.evaluate.clustering import compare_clusters
from nearfar.frontend.settings import TextSettings
from nearfar.sources import DocstringsSource
from nearfar.sources.document import Document, ReadReport
from tools.minilm import model_folder
from tools.results import Figures, arguments, figure, report

DIM, MAX_TOKENS = 384, 128
DOCSTRINGS = 1_500
PLANTED = 100


class Labelled(NamedTuple):
    """Texts with labels; an empty label fits none."""

    texts: list[str]
    labels: list[str]


def main() -> int:
    """Measure everything that there is data for."""
    options = arguments(__doc__ or "").parse_args()
    quick: bool = options.quick
    with tempfile.TemporaryDirectory(prefix="nearfar-") as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        model = None if quick else model_folder()
        real = options.data is not None and not quick and (options.data / "clinc150").is_dir()
        if not quick and model is None:
            print(
                "all-MiniLM-L6-v2 is not installed, so a random encoder stands in: see the bench extra", file=sys.stderr
            )
        train, test = read_clinc(options.data / "clinc150" / "clinc150.parquet") if real else made_labelled()
        texts = docstrings(DOCSTRINGS) if real else made_labelled(words=40)[0].texts
        bundle = minilm_bundle(model, work / "minilm") if model else random_bundle(work / "random", train.texts + texts)
        figures = labels(bundle, train, test, work, (5,) if quick else (5, 10))
        figures |= clusters(bundle, test)
        figures |= duplicates(bundle, texts)
    report(figures, options.json, quick=quick)
    return 0


# --- labels ----------------------------------------------------------------------------------------------------------


def labels(bundle: Bundle, train: Labelled, test: Labelled, work: Path, sizes: Sequence[int]) -> Figures:
    """A head in a bundle, through the bundle's own classifier, and TF-IDF."""
    figures: Figures = {}
    truth = np.array(test.labels)
    known = truth != ""
    for each in sizes:
        few = few_of(train, each)
        fitted = fit_head(Encoder.open(bundle).embed(few.texts), few.labels)
        classifier = Classifier.open(store_head(bundle, fitted, work / f"head-{each}"))
        found = classifier.classify(test.texts)
        right = np.array([one.best for one in found]) == truth
        answered = np.array([one.label is not None for one in found])
        name = f"labels_{each}_"
        figures |= {
            f"{name}accuracy": figure(mean_interval(right[known].astype(float)), "share"),
            f"{name}tfidf_accuracy": figure(mean_interval(tfidf(few, test)[known].astype(float)), "share"),
            f"{name}cross_validated_accuracy": figure(max(fitted.head.accuracy.values()), "share"),
            f"{name}coverage": figure(mean_interval(answered[known].astype(float)), "share"),
            f"{name}precision": figure(mean_interval(right[answered].astype(float)), "share"),
            f"{name}refused": figure(mean_interval((~answered[~known]).astype(float)), "share"),
        }
    return figures


def tfidf(few: Labelled, test: Labelled) -> np.ndarray:
    """Whether logistic regression on words and pairs of words is right, for each test text."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    peer = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=100, max_iter=1_000)
    )
    peer.fit(few.texts, few.labels)
    return np.array(peer.predict(test.texts)) == np.array(test.labels)


def few_of(train: Labelled, each: int) -> Labelled:
    """The first so many of every label, in a fixed random order."""
    counts: dict[str, int] = {}
    rows = []
    for row in np.random.default_rng(0).permutation(len(train.texts)).tolist():
        label = train.labels[row]
        counts[label] = counts.get(label, 0) + 1
        if counts[label] <= each:
            rows.append(row)
    return Labelled([train.texts[row] for row in rows], [train.labels[row] for row in rows])


# --- clusters --------------------------------------------------------------------------------------------------------


def clusters(bundle: Bundle, test: Labelled) -> Figures:
    """Queries that have a label, clustered without it."""
    texts = [text for text, label in zip(test.texts, test.labels, strict=True) if label]
    names = sorted({label for label in test.labels if label})
    truth = np.array([names.index(label) for label in test.labels if label], dtype=np.int64)
    vectors = Encoder.open(bundle).embed(texts)
    chosen, given = find_clusters(vectors), find_clusters(vectors, len(names))
    return {
        "clusters": figure(len(chosen.medoids)),
        "clusters_true": figure(len(names)),
        "clusters_ari": figure(compare_clusters(chosen.of, truth).ari, "share"),
        "clusters_given_k_ari": figure(compare_clusters(given.of, truth).ari, "share"),
    }


# --- duplicates ------------------------------------------------------------------------------------------------------


def duplicates(bundle: Bundle, texts: list[str]) -> Figures:
    """Planted copies of each kind, and what only looks like one."""
    rng = random.Random(0)
    words = [word for text in texts for word in text.split()]
    everything = list(texts)
    planted: dict[int, tuple[str, int]] = {}
    number = 0
    for kind in ("form", "words", "cut", "note", "typos", "other"):
        for _ in range(min(PLANTED, len(texts) // 6)):
            planted[len(everything)] = (kind, number)
            everything.append(copied(texts[number], kind, rng, words))
            number += 1
    with collect_texts(InMemory(everything), Encoder.open(bundle)) as collection:
        found, groups = near_duplicates(Gathered(collection, bundle))
    of = {one.row: group.kept for group in groups for one in group.duplicates}
    figures: Figures = {"duplicates_cosine": figure(found.cosine), "duplicates_overlap": figure(found.overlap)}
    hits: dict[str, list[float]] = {}
    for row, (kind, source) in planted.items():
        hits.setdefault(kind, []).append(float(of.get(row, row) == of.get(source, source)))
    light = [hit for kind, some in hits.items() if kind != "other" for hit in some]
    figures["duplicates_found"] = figure(mean_interval(np.array(light)), "share")
    figures["duplicates_wrong"] = figure(mean_interval(np.array(hits["other"])), "share")
    return figures | {
        f"duplicates_found_{kind}": figure(float(np.mean(some)), "share")
        for kind, some in hits.items()
        if kind != "other"
    }


def copied(text: str, kind: str, rng: random.Random, words: list[str]) -> str:
    """A copy that a person would call the same (or, of the kind `other`, not)."""
    own = text.split()
    match kind:
        case "form":
            return re.sub(r"[.,;:]", "", " ".join(own)).upper()
        case "cut":
            return " ".join(own[: max(1, int(len(own) * 0.9))])
        case "note":
            return f"Note from the team: {text}"
        case "typos":
            letters = list(text)
            for _ in range(max(1, len(letters) // 50)):
                letters[rng.randrange(len(letters))] = rng.choice("aeiourstn")
            return "".join(letters)
    for _ in range(max(1, len(own) // (20 if kind == "words" else 3))):
        own[rng.randrange(len(own))] = rng.choice(words)
    return " ".join(own)


class InMemory:
    """A source of these texts."""

    def __init__(self, texts: list[str]) -> None:
        self.texts, self.report = texts, ReadReport()

    def documents(self) -> Iterator[Document]:
        """One a text."""
        for number, text in enumerate(self.texts):
            yield Document(f"text-{number}", text)


# --- data and encoders -----------------------------------------------------------------------------------------------


def read_clinc(path: Path) -> tuple[Labelled, Labelled]:
    """Training and test queries; of those that fit no intent only the test has some."""
    import pyarrow.parquet as parquet

    rows = parquet.read_table(path, columns=["text", "intent", "split", "oos"]).to_pylist()
    train = [row for row in rows if row["split"] == "train" and not row["oos"]]
    test = [row for row in rows if row["split"] == "test"]
    return (
        Labelled([row["text"] for row in train], [row["intent"] for row in train]),
        Labelled([row["text"] for row in test], ["" if row["oos"] else row["intent"] for row in test]),
    )


def docstrings(count: int) -> list[str]:
    """Different docstrings of this environment, at most 400 characters of each."""
    found = list(dict.fromkeys(one.text for one in DocstringsSource(limit_files=2_500).documents()))
    random.Random(0).shuffle(found)
    return [text[:400] for text in found if len(text.split()) >= 8][:count]


def made_labelled(words: int = 10) -> tuple[Labelled, Labelled]:
    """Twelve topics of invented words; the test also has texts about none of them."""
    rng = random.Random(0)
    syllables = ("ka", "lo", "mi", "ne", "ru", "sa", "ti", "vo")
    invented = [a + b + c for a in syllables for b in syllables for c in syllables]
    topics = {f"topic-{n}": invented[25 * n : 25 * n + 25] for n in range(12)}

    def text(own: list[str]) -> str:
        return " ".join(rng.choices(own, k=words) + rng.choices(invented, k=words // 3))

    def some(each: int) -> Labelled:
        names = [name for name in topics for _ in range(each)]
        return Labelled([text(topics[name]) for name in names], names)

    test = some(25)
    strange = [text(invented[300:]) for _ in range(75)]
    return some(12), Labelled(test.texts + strange, test.labels + [""] * len(strange))


def minilm_bundle(model: Path, target: Path) -> Bundle:
    """all-MiniLM-L6-v2 in int8 as a bundle, exported as a trained encoder of that kind is."""
    from nearfar.learn.encoders.huggingface import HuggingFaceTextEncoder
    from nearfar.learn.export.text import export_graph
    from nearfar.recipe.text import HuggingFaceEncoder

    encoder = HuggingFaceTextEncoder(HuggingFaceEncoder(kind="hf", model=str(model)), pad_id=0)
    graph = export_graph(encoder, dim=DIM, quantise="int8")
    return written(target, graph, (model / "tokenizer.json").read_bytes(), "all-MiniLM-L6-v2", DIM)


def random_bundle(target: Path, texts: list[str]) -> Bundle:
    """A random vector a word, summed: what needs no training."""
    import torch

    from nearfar.frontend import TextFrontend
    from nearfar.learn.encoders.static import StaticTextEncoder
    from nearfar.learn.export.text import export_graph
    from nearfar.recipe.text import StaticEncoder

    frontend = TextFrontend.train(texts, vocab_size=4_000, max_query_tokens=MAX_TOKENS, max_document_tokens=MAX_TOKENS)
    torch.manual_seed(0)
    graph = export_graph(
        StaticTextEncoder(StaticEncoder(kind="static", dim=128), vocab_size=frontend.vocab_size),
        dim=128,
        quantise="none",
    )
    return written(target, graph, frontend.to_bytes(), "random", 128)


def written(target: Path, graph: bytes, tokenizer: bytes, name: str, dim: int) -> Bundle:
    """A bundle of these files, without figures."""
    tower = Tower(graph="encoder.onnx")
    manifest = Manifest(
        name=name,
        towers={"query": tower, "document": tower},
        dim=dim,
        frontend=TextSettings(max_query_tokens=MAX_TOKENS, max_document_tokens=MAX_TOKENS),
        provenance=Provenance(recipe={"name": name}, recipe_sha256="0" * 64, data_fingerprint="0" * 64),
    )
    with BundleWriter(target) as writer:
        writer.add("encoder.onnx", graph)
        writer.add("tokenizer.json", tokenizer)
        return writer.finish(manifest, render_card(manifest))


if __name__ == "__main__":
    raise SystemExit(main())
