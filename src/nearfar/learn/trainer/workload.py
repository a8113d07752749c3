"""What a fit needs to know of the data and the method, whatever they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from nearfar.learn.data.batches import Share
from nearfar.learn.losses import Negatives
from nearfar.recipe import Recipe


class Method(Protocol):
    """A published algorithm in two steps; an `nn.Module`."""

    def embed(self, batch: Any) -> Any:
        """Step one: everything that goes through an encoder, as a NamedTuple of tensors with one row for each item."""
        ...

    def loss(self, embedded: Any, further: Sequence[Negatives] = ()) -> Tensor:
        """Step two: a scalar, from what all chunks and ranks have embedded."""
        ...


class Surroundings(Protocol):
    """What happens around the two steps of a method."""

    @property
    def sources(self) -> nn.Module:
        """What of it belongs into a checkpoint."""
        ...

    @property
    def note(self) -> str:
        """A few words on the last figures, for the screen; may be empty."""
        ...

    def before(self, batch: Any, step: int) -> Any:
        """Make of what the loader gave what the method embeds: a batch that `split(size)` cuts."""
        ...

    def given(self, embedded: Any, step: int) -> tuple[Any, Sequence[Any]]:
        """The joint batch as the loss takes it, and where its further negatives come from."""
        ...

    def for_loss(self, embedded: Any, sources: Sequence[Any]) -> tuple[Negatives, ...]:
        """The sources that `given` found, as the loss takes them."""
        ...

    def remember(self, batch: Any, embedded: Any, step: int) -> None:
        """Store what later steps need, after the loss; `batch` is of this rank, `embedded` of all."""
        ...

    def ledger(self, embedded: Any, sources: Sequence[Any]) -> dict[str, float]:
        """Figures of the step for the log, now and then; before `remember`."""
        ...


class Rows(Protocol):
    """Training rows by number: an index is a `Share`, the item is that share as a batch."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Share) -> Any: ...


class Validation(Protocol):
    """Measures a method on held-out data."""

    def measure(self, method: Any) -> dict[str, float]:
        """Figures by name."""
        ...


@dataclass(frozen=True)
class Workload:
    """All that differs from one kind of data to another.

    Attributes:
        rows: what to train on.
        method: an `nn.Module` that is a `Method`.
        total_steps: of the whole run.
        surroundings: what happens around its steps.
        validation: what it is measured by on the way; None where nothing is held out.
        shown: the validation figure that is shown beside the loss.
        groups: sets of parameters with a factor of the learning rate each; what is in none has the factor 1.
    """

    rows: Rows
    method: Any
    total_steps: int
    surroundings: Surroundings
    validation: Validation | None
    shown: str
    groups: Sequence[tuple[nn.Module, float]] = ()


class Prepared(Protocol):
    """The data of a recipe in a run's directory, ready to be trained on."""

    def workload(self, recipe: Recipe, *, threads: int, say: Callable[[str], None]) -> Workload:
        """What a fit works on, with fresh weights.

        Args:
            recipe: what to do.
            threads: of what is searched on the CPU.
            say: told what is going on when a step takes long, and what is worth a warning.

        Raises:
            DataError: where too little is left to train on.
        """
        ...
