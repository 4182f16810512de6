"""Which runs are taken for repeats of one another, against plain comparison of the rows."""

import itertools

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.clusters import cluster_labels, labels_and_note

few = st.integers(0, 2)


@st.composite
def grids(draw):
    """Up to eight distinct settings of two columns and a seed, each row once."""
    rows = draw(st.lists(st.tuples(few, few, few), min_size=1, max_size=8, unique=True))
    return pd.DataFrame(rows, columns=["width", "depth", "seed"]).assign(train_flops=1.0)


def together(labels):
    """Pairs of rows that share a label."""
    return {(i, j) for i, j in itertools.combinations(range(len(labels)), 2) if labels[i] == labels[j]}


@given(grids())
def test_rows_are_one_cell_if_all_their_settings_agree(table):
    """Compared row by row."""
    expected = {
        (i, j)
        for i, j in itertools.combinations(range(len(table)), 2)
        if (table.loc[i, ["width", "depth"]] == table.loc[j, ["width", "depth"]]).all()
    }

    assert together(cluster_labels(table, "train_flops")) == expected


@given(grids())
def test_a_mapping_of_arrays_is_labelled_as_the_table_is(table):
    """The form in which a fit has its checked columns."""
    columns = {name: table[name].to_numpy() for name in table}

    assert cluster_labels(columns, "train_flops").tolist() == cluster_labels(table, "train_flops").tolist()


def test_empty_settings_agree_with_one_another():
    """Two runs of unknown family are alike, and unlike one of a known family."""
    table = pd.DataFrame({"family": [None, "vit", None], "seed": [0, 0, 1], "train_flops": [1.0, 1.0, 1.0]})

    assert together(cluster_labels(table, "train_flops")) == {(0, 2)}


def test_checkpoints_of_one_run_are_told_apart_by_cost():
    """The same settings and seed twice: the cost is a setting too, and seeds still make cells."""
    table = pd.DataFrame({"width": [8] * 4, "seed": [0, 0, 1, 1], "train_flops": [1.0, 2.0, 1.0, 2.0]})

    assert together(cluster_labels(table, "train_flops")) == {(0, 2), (1, 3)}


def test_repeats_without_seeds_stand_alone_and_are_noted():
    """Nothing says that they are repeats, so they are not taken for one; the note says how many."""
    table = pd.DataFrame({"seed": 0, "train_flops": [1.0, 1.0, 1.0, 2.0]})

    labels, note = labels_and_note(table, "train_flops")

    assert together(labels) == set()
    assert note.startswith("2 of 4 runs repeat the train_flops of another")


def test_a_column_to_resample_by_must_be_there():
    """The name is given back."""
    table = pd.DataFrame({"seed": [0, 1], "train_flops": [1.0, 2.0], "budget": ["a", "a"]})

    assert together(cluster_labels(table, "train_flops", "budget")) == {(0, 1)}
    with pytest.raises(ValueError, match="no column 'budgets' to resample by"):
        cluster_labels(table, "train_flops", "budgets")


def test_runs_of_one_setting_and_one_seed_are_said():
    """Two models under a name that no column is known by, or rows that stand twice."""
    rows = [(width, seed, model) for width in (4, 8) for seed in (0, 1) for model in ("cnn", "vit")]
    table = pd.DataFrame(rows, columns=["width", "seed", "model"]).assign(train_flops=1.0)

    labels, note = labels_and_note(table, "train_flops")

    assert len(set(labels)) == 2
    assert note.startswith("4 of 8 runs have the settings, the cost and the seed of another, and are averaged with it")
    assert labels_and_note(table.rename(columns={"model": "family"}), "train_flops")[1] == ""
