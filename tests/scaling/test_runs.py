"""The runs table: completed, typed and checked, with the wrong cell named."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling import fit
from scaling.columns import COLUMNS, column, label
from scaling.export import write_runs
from scaling.reading import number_hint
from scaling.runs import cell_columns, check_runs, from_rows, read_runs


def table(**changes):
    """Three runs of a stranger's."""
    return pd.DataFrame({"train_flops": [1e9, 2e9, 4e9], "test_error": [0.5, 0.4, 0.3], **changes})


def test_what_a_fit_needs_is_completed():
    """Ids by row, seed 0, finished; the rest stays as it is."""
    checked = check_runs(table(mine=["a", "b", "c"]))

    assert list(checked["trial_id"]) == ["row-000001", "row-000002", "row-000003"]
    assert set(checked["seed"]) == {0}
    assert set(checked["status"]) == {"finished"}
    assert list(checked["mine"]) == ["a", "b", "c"]


def test_the_table_that_is_handed_in_is_not_changed():
    """Checking returns a new one."""
    original = table()
    check_runs(original)

    assert list(original.columns) == ["train_flops", "test_error"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test_error": [0.5, 40.0, 0.3]}, r"row 2: test_error is 40.0, but it lies in \[0, 1\]"),
        ({"test_error": [0.5, -0.2, 0.3]}, r"row 2: test_error is -0.2, but it lies in \[0, 1\]; leave unknown"),
        ({"train_flops": [1e9, -1.0, 1e9]}, "row 2: train_flops is -1.0"),
        ({"train_flops": [1e9, float("inf"), 1e9]}, "row 2: train_flops is inf"),
        ({"train_flops": [1e9, "many", 1e9]}, "row 2: train_flops is 'many'"),
        ({"n_params": [10, 10.5, 10]}, "row 2: n_params is 10.5, but it is a whole number"),
        ({"status": ["finished", "done", "finished"]}, "row 2: status is 'done'"),
        ({"energy_source": ["measured", "guessed", None]}, "row 2: energy_source is 'guessed'"),
        ({"train_flops_teacher": [1.0, -2.0, 1.0]}, "row 2: train_flops_teacher is -2.0"),
        ({"trial_id": ["a", "b", "a"]}, "row 3: trial_id 'a' occurs twice"),
    ],
)
def test_a_wrong_cell_is_named(changes, words):
    """Row, column, value and what is allowed."""
    with pytest.raises(ValueError, match=words):
        check_runs(table(**changes))


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["a", ["b", "c"], "d"], r"row 2: tags is \['b', 'c'\], a list, but a cell is a number or a text; drop"),
        ([{"a": 1}, None, None], "row 1: tags is {'a': 1}, a dict"),
    ],
)
def test_a_cell_that_is_a_list_is_named(tmp_path, cells, words):
    """Whether the table comes from a file or from rows; no later step would know what to do with it."""
    with pytest.raises(ValueError, match=words):
        check_runs(table(tags=cells))
    with pytest.raises(ValueError, match=words):
        from_rows(table(tags=cells).to_dict("records"))
    table(tags=[[1], [2], [3]]).to_parquet(tmp_path / "runs.parquet")
    with pytest.raises(ValueError, match=r"runs.parquet: row 1: tags is array\(\[1\]\), a ndarray"):
        read_runs(tmp_path / "runs.parquet")


def test_unknown_cells_stay_empty():
    """An unknown energy is not 0, an unknown count not a fraction."""
    checked = check_runs(table(energy_joules=[1.0, None, 3.0], n_test=[10, None, 30]))

    assert checked["energy_joules"].isna().tolist() == [False, True, False]
    assert checked["n_test"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it has no header; the first line names the columns"),
        (b"\n\n", "it has no header"),
        (b"train_flops,test_error\n", "the runs table has no rows"),
        (b"train_flops,test_error\n1,caf\xe9\n", r"not encoded in UTF-8 \(byte 0xe9\); save it as UTF-8"),
        ("train_flops,test_error\n1,0.5\n".encode("utf-16"), "not encoded in UTF-8"),
        (b'a,b\n"1,2\n3,4\n', "its cells cannot be told apart"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_our_words(tmp_path, content, words):
    """The file is named, and what to do; nothing of pandas' own."""
    path = tmp_path / "mine.csv"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=f"mine.csv.*{words}"):
        read_runs(path)


def test_a_broken_parquet_file_is_refused_in_our_words(tmp_path):
    """Half a file is no table."""
    path = tmp_path / "mine.parquet"
    table().to_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(ValueError, match=r"mine.parquet.*not a complete parquet file"):
        read_runs(path)


@settings(deadline=None)  # a busy machine is no fault
@given(st.permutations(["width", "seed", "train_flops", "test_error", "train_flops_train", "zebra"]))
def test_a_table_from_rows_has_known_columns_first(order):
    """In the order of the contract, phases behind them, strangers last."""
    values = {"width": 8, "seed": 1, "train_flops": 1.0, "test_error": 0.1, "train_flops_train": 1.0, "zebra": 3}
    built = from_rows([{name: values[name] for name in order}])
    known = [one.name for one in COLUMNS if one.name in built.columns and one.name in values]

    assert [name for name in built.columns if name in values] == [*known, "train_flops_train", "zebra"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_written_is_read(tmp_path, suffix):
    """Both kinds of file hold the same table."""
    checked = check_runs(table(n_test=[100, None, 100]))
    path = tmp_path / f"runs{suffix}"
    checked.to_csv(path, index=False) if suffix == ".csv" else checked.to_parquet(path, index=False)

    pd.testing.assert_frame_equal(read_runs(path), checked)


def test_cells_are_told_apart_by_the_settings_a_table_has():
    """The hash where there is one."""
    assert cell_columns(table(cell=["a", "a", "b"], width=[1, 1, 2])) == ["cell"]
    assert cell_columns(table(width=[1, 1, 2], depth=[1, 1, 1])) == ["width", "depth"]


def test_columns_are_described_and_called_by_name():
    """Phases have columns of their own; a near miss is suggested."""
    assert column("train_flops_prune-finetune").unit == "FLOP"
    assert label("train_flops") == "training compute"
    with pytest.raises(ValueError, match="did you mean 'train_flops'"):
        column("train_flop")


def test_blanks_around_headers_are_taken_away_and_noted(tmp_path):
    """In a csv; the note goes with the table into its fits, and not into the files that are written of it."""
    path = tmp_path / "mine.csv"
    path.write_text("train_flops, test_error ,status\n" + "".join(f"1e{n}, {0.5 / n}, finished\n" for n in range(1, 9)))

    runs = read_runs(path)
    written = write_runs(runs, tmp_path / "out")

    assert list(runs.columns[:3]) == ["train_flops", "test_error", "status"]
    assert set(runs["status"]) == {"finished"}
    assert fit(runs, "power").notes == (
        "mine.csv has blanks around names of columns (' test_error '), which were taken away",
    )
    for file in written:
        assert fit(read_runs(file), "power").notes == ()
    path.write_text("a, a\n1,2\n")
    with pytest.raises(ValueError, match="'a' stands there twice"):
        read_runs(path)


@pytest.mark.parametrize(
    ("cell", "hint"),
    [
        ("12.5%", "; write 0.125 for 12.5%"), ("50 %", "; write 0.5 for 50 %"),
        ("1,234,567.5", "; write 1234567.5, without separators of thousands"),
        ("1 000", "; write 1000, without separators of thousands"), ("0,25", "; write 0.25, with a point"),
        ("half", ""), (None, ""), ("1,00", "; write 1.00, with a point"),
    ],
)  # fmt: skip
def test_what_to_write_for_a_number_that_is_none(cell, hint):
    """Percentages, separated thousands, decimal commas."""
    assert number_hint(cell) == hint
