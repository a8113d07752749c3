"""Batches of rows of like length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

# Text beyond this many characters a token cannot reach the encoder in practice: a token of prose or code covers three to
# six characters. Only runs of white space or single words of hundreds of characters come near it. Cutting first keeps a
# pasted 100 kB query as fast as a short one.
CHARACTERS_PER_TOKEN = 32


def length_batches(lengths: Sequence[int], batch_size: int, tokens: int) -> Iterator[list[int]]:
    """Yield positions grouped by similar length, so that little is padding.

    Args:
        lengths: of n rows.
        batch_size: most rows in a batch.
        tokens: most tokens in a batch, padding included; a longer row is a batch of its own.
    """
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lambda position: lengths[position]):
        full = len(batch) == batch_size or (len(batch) + 1) * lengths[position] > tokens
        if batch and full:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch
