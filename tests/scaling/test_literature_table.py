"""The table of published results: what is added, and which cell of a stranger's table is wrong."""

import pandas as pd
import pytest

from scaling.literature import check_published, read_published

GOOD = {
    "benchmark": ["digits", "digits", "digits"],
    "model": ["a", "b", "c"],
    "year": [2018, 2019, 2020],
    "error": [0.3, 0.2, 0.1],
    "per_pass": [1.0, 2.0, 4.0],
    "per_pass_unit": ["GFLOP", "multiply-add", "billion multiply-adds"],
}


def changed(column, row, value):
    """The good table with one cell changed."""
    table = pd.DataFrame(GOOD).astype(object)
    table.loc[row - 1, column] = value
    return table


def test_units_become_flop():
    """A multiply-add is two FLOP."""
    assert check_published(pd.DataFrame(GOOD))["per_pass_flops"].tolist() == [1e9, 4.0, 8e9]


def test_burden_follows_from_devices_rate_and_hours():
    """Filled where it is empty."""
    table = pd.DataFrame(GOOD).assign(devices=2.0, hours=3.0, device_flops_per_second=1e12)

    assert check_published(table)["hardware_burden_flop"].tolist() == [2.16e16] * 3


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (changed("per_pass_unit", 2, "GFLOPS"), "row 2: per_pass_unit is 'GFLOPS', but it is one of FLOP, "),
        (changed("per_pass_unit", 3, None), "row 3: per_pass_unit is empty, but it is one of FLOP, "),
        (changed("error", 1, 1.2), "row 1: error is 1.2, but it is a fraction above 0 and up to 1"),
        (changed("error", 2, 0), "row 2: error is 0.0, but it is a fraction above 0"),
        (changed("error", 2, "low"), "row 2: error is 'low', but it is a number"),
        (changed("year", 3, None), "row 3: year is empty, but every result has one"),
        (changed("year", 3, 20.5), "row 3: year is 20.5, but it is a year such as 2018"),
        (changed("model", 1, None), "row 1: model is empty, but every result names one"),
        (changed("per_pass", 2, -1), "row 2: per_pass is -1.0, but it is above 0"),
        (pd.concat([pd.DataFrame(GOOD)] * 2), "row 4: model is 'a', but row 1 holds the same result"),
        (pd.DataFrame(GOOD).drop(columns="year"), "has no column 'year'"),
        (pd.DataFrame(GOOD).rename(columns={"error": "eror"}), "has no column 'error'; is it 'eror'?"),
        (pd.DataFrame(GOOD).drop(columns="per_pass"), "no row has any computation"),
        (pd.DataFrame(GOOD)[:0], "has no rows"),
        (
            pd.DataFrame(GOOD).assign(devices=2, hours=3, device_flops_per_second=1e12, hardware_burden_flop=1e9),
            "row 1: hardware_burden_flop is 1000000000.0, but devices x hours",
        ),
    ],
)
def test_a_wrong_cell_is_named_by_row_and_column(table, message):
    """With what is allowed there."""
    with pytest.raises(ValueError, match=r"row|column|computation") as caught:
        check_published(table)

    assert message in str(caught.value)


def test_a_wrong_file_is_named(tmp_path):
    """The path stands before the sentence."""
    path = tmp_path / "mine.csv"
    changed("error", 1, 3).to_csv(path, index=False)

    with pytest.raises(ValueError, match=r"mine\.csv: row 1: error is 3"):
        read_published(path)
    with pytest.raises(ValueError, match="there is no file"):
        read_published(tmp_path / "absent.csv")
