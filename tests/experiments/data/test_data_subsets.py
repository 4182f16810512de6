"""Nested, class-balanced subsets and stratified splits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data import nested_subset
from experiments.data.subsets import stratified_split

POOLS = st.lists(st.integers(0, 6), min_size=1, max_size=200).map(lambda labels: np.array(labels, dtype=np.int64))


@st.composite
def draws(draw):
    """A pool with two allowed sizes, smaller first, and a seed."""
    labels = draw(POOLS)
    sizes = st.integers(len(np.unique(labels)), len(labels))
    return labels, *sorted([draw(sizes), draw(sizes)]), draw(st.integers(0, 2**32))


@given(draws())
def test_a_larger_subset_begins_with_the_smaller(case):
    """The draw of n examples is a prefix of every larger draw by the same seed."""
    labels, fewer, more, seed = case

    np.testing.assert_array_equal(nested_subset(labels, fewer, seed), nested_subset(labels, more, seed)[:fewer])


@given(draws())
def test_classes_are_balanced_until_one_is_used_up(case):
    """Counts differ by at most one, but for classes of which no example is left."""
    labels, n_train, _, seed = case
    subset = nested_subset(labels, n_train, seed)
    classes, available = np.unique(labels, return_counts=True)
    taken = np.array([(labels[subset] == name).sum() for name in classes])

    assert len(set(subset.tolist())) == n_train
    assert (taken >= 1).all()
    assert ((taken >= taken.max() - 1) | (taken == available)).all()


@given(POOLS, st.integers(0, 2**32))
def test_the_whole_pool_can_be_drawn(labels, seed):
    """As many examples as there are means every example once."""
    assert sorted(nested_subset(labels, len(labels), seed)) == list(range(len(labels)))


def test_every_example_is_equally_likely():
    """Over 2,000 seeds the examples of a class are drawn equally often, by a chi-square test."""
    labels = np.arange(60) % 3
    counts = np.bincount(np.concatenate([nested_subset(labels, 15, seed) for seed in range(2000)]), minlength=60)

    assert counts.sum() == 30_000
    # Drawing 5 of 20 without replacement has the variance 3/4 x 20/19 of independent draws; the bound is
    # the chi-square's 1 in 1,000 at 3 x 19 degrees of freedom.
    assert ((counts - 500) ** 2 / (500 * 0.75 * 20 / 19)).sum() < 95.8


def test_the_order_within_a_round_is_random():
    """The class that comes first differs between seeds, so odd counts favour no class."""
    labels = np.arange(50) % 5
    firsts = {int(labels[nested_subset(labels, 5, seed)[0]]) for seed in range(50)}

    assert firsts == set(range(5))


def test_seeds_draw_independently():
    """Two draws of a tenth of the pool share about a tenth of their examples."""
    labels = np.arange(10_000) % 10
    shared = np.intersect1d(nested_subset(labels, 1000, 0), nested_subset(labels, 1000, 1))

    assert 60 < len(shared) < 140


def test_the_draw_is_the_same_for_ever():
    """A changed draw would change every result under the same trial id."""
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2])

    assert nested_subset(labels, 6, 0).tolist() == [3, 1, 5, 9, 2, 4]


@pytest.mark.parametrize("n_train", [-1, 0, 2, 13])
def test_impossible_sizes_are_refused_with_the_range(n_train):
    """Fewer than one per class, and more than the pool holds."""
    with pytest.raises(ValueError, match=rf"n_train is {n_train}, .* 3 \(one per class\) to 12"):
        nested_subset(np.arange(12) % 3, n_train, 0)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=300), st.data())
def test_a_stratified_split_keeps_the_shares(labels, data):
    """Each class gives its share to within one example, and the parts make up the whole."""
    labels = np.array(labels)
    n_held_out = data.draw(st.integers(1, len(labels) - 1))

    kept, held_out = stratified_split(labels, n_held_out, key="test")

    assert len(held_out) == n_held_out
    assert sorted([*kept, *held_out]) == list(range(len(labels)))
    for name in np.unique(labels):
        exact = (labels == name).sum() * n_held_out / len(labels)
        assert abs((labels[held_out] == name).sum() - exact) < 1


def test_splitting_off_nothing_or_everything_is_refused():
    """A validation set needs an example, and so does what is left."""
    for n_held_out in (0, 4):
        with pytest.raises(ValueError, match="allowed are 1 to 3"):
            stratified_split(np.array([0, 1, 0, 1]), n_held_out, key="test")
