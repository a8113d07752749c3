"""What the card says of an encoder of sound."""

from __future__ import annotations

from nearfar.bundle.manifest import Manifest
from nearfar.frontend.settings import AudioSettings

FIGURES = {
    "knn_accuracy": "share of test recordings whose nearest training recordings vote for their label",
    "probe_accuracy": "share that a linear classifier on the embeddings gets right, trained on all labels of the training recordings",
    "few_label_accuracy": "the same with ten labels a class",
    "nmi": "how far clusters of the embeddings are the labels (normalised mutual information)",
    "view_recall_at_1": "share of test recordings that are found by a random view of them, among all test recordings",
}

LIMITS = """## Limits and intended use

- Meant for recordings like those it was trained on. With other microphones, rooms, languages or noises, measure first.
- What is alike is what the views of the recipe left unchanged: an encoder trained to overlook pitch cannot search by it.
- A cosine orders the recordings near one recording; it is no probability, and no proof that two are of the same thing or person.
- It repeats the leanings of its training data. Do not use it alone to decide about people."""


def what(manifest: Manifest, frontend: AudioSettings) -> str:
    """The first sentences of the card."""
    rate, trimmed = frontend.rate, "without the silence at their ends, " if frontend.trim else ""
    alike = "of the same person or thing" if manifest.verification is not None else "that sound alike"
    return (
        f"An encoder of sound: it puts recordings {alike} near each other. {manifest.dim} dimensions, compared by "
        f"{manifest.similarity}. It hears recordings at {rate:,} Hz, {trimmed}{frontend.step / rate:g} to {frontend.longest / rate:g} "
        f"seconds of them: shorter ones are repeated, longer ones cut; of each, {frontend.bands} mel bands from {frontend.lowest:g} to "
        f"{frontend.highest:g} Hz."
    )


def use(manifest: Manifest, frontend: AudioSettings) -> str:
    """How to embed recordings."""
    return f"""## Use

`BUNDLE` is this folder; `pip install "nearfar[audio]"` reads sound files.

```python
from nearfar.edge.encoder import Encoder
encoder = Encoder.open("BUNDLE")
cosines = encoder.embed(["a.wav"]) @ encoder.embed(["b.wav", "c.flac"]).T  # (1, 2)
```

The rows of `embed` are float32, {manifest.dim} components, unit length. Paths, encoded bytes, arrays (t,) at {frontend.rate:,} Hz and
pairs of an array and its rate are all recordings."""
