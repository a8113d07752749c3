"""Whether settings of different blocks of a recipe for text go together. What does not is a ValueError that names both keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nearfar.recipe.distil import Distil
from nearfar.recipe.negatives import Negatives
from nearfar.recipe.text import (
    HuggingFaceEncoder,
    StaticEncoder,
    TextEncoderSettings,
    TextFrontendSettings,
    TransformerEncoder,
)

if TYPE_CHECKING:
    from nearfar.recipe.schema import Recipe


def text_fits(recipe: Recipe) -> None:
    """Refuse settings of texts that do not go together.

    Args:
        recipe: for text.

    Raises:
        ValueError: two settings do not; it names them and the mend.
    """
    tokenizer_fits(recipe.of_text.frontend, recipe.of_text.encoder)
    _prefixes_fit(recipe)
    _teacher_fits(recipe)


def tokenizer_fits(frontend: TextFrontendSettings, encoder: TextEncoderSettings, *, at: str = "") -> None:
    """Refuse a vocabulary that the encoder cannot have.

    Args:
        frontend: of texts.
        encoder: what takes the tokens.
        at: where both stand, as `towers.text.`; empty for the recipe's own.

    Raises:
        ValueError: it names the keys and the mend.
    """
    is_hf = isinstance(encoder, HuggingFaceEncoder)
    if frontend.tokenizer.kind == "model" and not is_hf:
        raise ValueError(
            f"{at}frontend.tokenizer 'model' needs encoder 'hf'; encoder '{encoder.kind}' has no tokenizer of its own: "
            "use 'train' or 'file'"
        )
    if frontend.tokenizer.kind in ("train", "teacher") and is_hf:
        raise ValueError(
            f"encoder 'hf' was pretrained with its own vocabulary: leave {at}frontend.tokenizer out, or set it to {{kind: model}}"
        )


def _prefixes_fit(recipe: Recipe) -> None:
    _, encoder, method = recipe.of_text
    # The width of a pretrained model without a projection is known only when it is loaded.
    output_dim = encoder.projection if isinstance(encoder, HuggingFaceEncoder) else encoder.output_dim
    if output_dim is None:
        return
    for prefix in method.matryoshka:
        if prefix > output_dim:
            raise ValueError(f"method.matryoshka has {prefix}, but the encoder gives only {output_dim} dimensions")
    if recipe.export.dim is not None and recipe.export.dim > output_dim:
        raise ValueError(f"export.dim is {recipe.export.dim}, but the encoder gives only {output_dim} dimensions")


def _teacher_fits(recipe: Recipe) -> None:
    frontend, encoder, method = recipe.of_text
    starts = isinstance(encoder, StaticEncoder) and encoder.start == "teacher"
    wanted = {
        "method distil": isinstance(method, Distil),
        "frontend.tokenizer teacher": frontend.tokenizer.kind == "teacher",
        "encoder.start teacher": starts,
    }
    for what, needs in wanted.items():
        if needs and recipe.teacher is None:
            raise ValueError(f"{what} needs a teacher: set teacher.model to a bundle, a model directory or a hub name")
    if frontend.tokenizer.kind == "teacher" and isinstance(encoder, TransformerEncoder) and encoder.pooling == "cls":
        raise ValueError(
            "encoder.pooling is cls, but frontend.tokenizer 'teacher' puts no [CLS] before a text: set pooling to mean"
        )
    if not isinstance(method, Distil):
        if recipe.teacher is not None:
            raise ValueError(
                f"teacher is given, but method '{method.kind}' does not learn from one: set method.kind to distil, or leave teacher out"
            )
        return
    if method.towers == "separate":
        raise ValueError("method distil has one tower: leave method.towers out")
    if method.asymmetric:
        _documents_stay_whole(recipe)
    if not method.pairs and recipe.negatives != Negatives():
        raise ValueError(
            "negatives are for the term pairs of method distil: set method.pairs above 0, or leave negatives out"
        )
    if method.matryoshka and not method.pairs:
        raise ValueError(
            "method.matryoshka is for the term pairs of method distil: set method.pairs above 0, or leave it out"
        )


def _documents_stay_whole(recipe: Recipe) -> None:
    steps = recipe.compress.steps if recipe.compress is not None else ()
    shortening = [f"compress.steps[{number}] (prefix)" for number, step in enumerate(steps) if step.kind == "prefix"]
    if recipe.export.dim is not None:
        shortening.insert(0, "export.dim")
    if shortening:
        raise ValueError(
            f"{shortening[0]} keeps some components of a query only, but documents stay the teacher's, with all of theirs: leave it "
            "out; the step rank of compress makes the table smaller"
        )
