"""Subsets of a training pool that are nested, class-balanced and drawn by a seed; stratified splits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from experiments.data.randomness import random_bits, stream_key


def nested_subset(labels: NDArray[np.int64], n_train: int, seed: int) -> NDArray[np.int64]:
    """Draw training examples such that every smaller draw by the same seed is contained in them.

    The draw goes in rounds: each takes one example of every class that has any left, in random
    order. The counts of two classes therefore differ by at most one as long as none is used up; where
    a class is, the others fill the rest, so that the whole pool can be drawn.

    Args:
        labels: Classes of the training pool, shape (n,), not negative.
        n_train: Examples to draw.
        seed: Two seeds give independent draws.

    Returns:
        Indices into the pool, shape (n_train,), in the order of the draw: the first m are the
        subset of m examples.

    Raises:
        ValueError: If `n_train` is smaller than the number of classes or larger than the pool.
    """
    classes = _indices_by_class(labels)
    if not len(classes) <= n_train <= len(labels):
        raise ValueError(
            f"n_train is {n_train}, but this data set allows {len(classes)} (one per class) "
            f"to {len(labels)} (the whole training pool)"
        )
    every = np.arange(len(labels))
    keys = random_bits(stream_key("subset", seed), every)
    n_rounds = _rounds_needed(np.array([len(members) for members in classes]), n_train)
    drawn = [_least(members, keys[members], n_rounds) for members in classes]
    indices = np.concatenate(drawn)
    rounds = np.concatenate([np.arange(len(members)) for members in drawn])
    order_in_round = random_bits(stream_key("order in round", seed), indices)
    return indices[np.lexsort((order_in_round, rounds))][:n_train].astype(np.int64)


def stratified_split(
    labels: NDArray[np.int64], n_held_out: int, *, key: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hold out examples by a fixed draw that keeps the classes' shares to within one example.

    Args:
        labels: Classes, shape (n,).
        n_held_out: Examples to hold out, at least one per class is not promised.
        key: Names the draw; the same labels and key always give the same split.

    Returns:
        Sorted indices ``(kept, held_out)``.

    Raises:
        ValueError: If nothing or everything would be held out.
    """
    if not 0 < n_held_out < len(labels):
        raise ValueError(
            f"{n_held_out} of {len(labels)} examples cannot be held out; allowed are 1 to {len(labels) - 1}"
        )
    classes = _indices_by_class(labels)
    sizes = np.array([len(members) for members in classes])
    counts = _shares(sizes, n_held_out)
    stream = stream_key("split", key)
    drawn = [
        _least(members, random_bits(stream, members), count) for members, count in zip(classes, counts, strict=True)
    ]
    held_out = np.sort(np.concatenate(drawn))
    kept = np.setdiff1d(np.arange(len(labels)), held_out, assume_unique=True)
    return kept.astype(np.int64), held_out.astype(np.int64)


def _indices_by_class(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """List the members of each class that occurs; the sort is a radix sort where labels fit 16 bits."""
    narrow = labels.astype(np.uint16) if len(labels) and labels.max() < 2**16 else labels
    order = np.argsort(narrow, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order])) + 1
    return [members for members in np.split(order, starts) if len(members)]


def _least(members: NDArray[np.int64], keys: NDArray[np.uint64], count: int) -> NDArray[np.int64]:
    """Return the members with the smallest keys, smallest first."""
    if count < len(members):
        chosen = np.argpartition(keys, count)[:count]
        members, keys = members[chosen], keys[chosen]
    return members[np.argsort(keys)]


def _rounds_needed(sizes: NDArray[np.int64], n_train: int) -> int:
    """Least number of rounds in which classes of these sizes give `n_train` examples."""
    low, high = 1, int(sizes.max())
    while low < high:
        middle = (low + high) // 2
        if np.minimum(sizes, middle).sum() >= n_train:
            high = middle
        else:
            low = middle + 1
    return low


def _shares(sizes: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Split `total` in proportion to `sizes` by largest remainders."""
    counts, remainders = np.divmod(sizes * total, sizes.sum())
    most_remaining = np.argsort(-remainders, kind="stable")
    counts[most_remaining[: total - counts.sum()]] += 1
    return counts
