"""Files that leave the program: tables that read back as they were, and LaTeX that compiles."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.export import latex_table, write_json, write_tables

TABLE = pd.DataFrame(
    {"law": ["power", "m4_&%"], "exponent": [4.25, np.nan], "train_flops": [1.5e12, 3e-7], "n_seeds": [3, 1]}
)


@pytest.mark.parametrize(("kind", "read"), [("csv", pd.read_csv), ("parquet", pd.read_parquet)])
def test_tables_read_back_as_they_were(tmp_path, kind, read):
    """Values, names and empty cells."""
    (path,) = write_tables({"laws": TABLE}, tmp_path, kind)

    pd.testing.assert_frame_equal(read(path), TABLE, check_dtype=False)


def test_latex_has_a_row_for_each_and_numbers_as_mathematics(tmp_path):
    """Powers of ten as powers, unknown cells as dashes, special letters harmless."""
    (path,) = write_tables({"laws": TABLE}, tmp_path, "latex")
    lines = path.read_text().splitlines()

    assert path.name == "laws.tex"
    assert lines[0] == r"\begin{tabular}{lrrr}"
    assert lines[2] == r"law & exponent & train\_flops & n\_seeds \\"
    assert lines[4] == r"power & $4.25$ & $1.5\cdot10^{12}$ & 3 \\"
    assert lines[5] == r"m4\_\&\% & -- & $3\cdot10^{-7}$ & 1 \\"


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1))
def test_no_text_leaves_its_cell(text):
    """Whatever a name holds, the row has as many cells as the table, and no comment eats its end."""
    row = latex_table(pd.DataFrame({"a": [text], "b": ["end"]})).splitlines()[4]
    bare = row.replace(r"\&", "").replace(r"\%", "").replace(r"\$", "").replace(r"\#", "")

    assert bare.count("&") == 1
    assert not set("%$#") & set(bare)
    assert row.endswith(r"& end \\")


def test_a_format_that_is_not_there_is_named(tmp_path):
    """With those that are."""
    with pytest.raises(ValueError, match="'xlsx'; it is one of csv, parquet, latex"):
        write_tables({"laws": TABLE}, tmp_path, "xlsx")


def test_json_refuses_what_json_has_no_word_for(tmp_path):
    """And leaves nothing half-written behind."""
    with pytest.raises(ValueError, match="JSON"):
        write_json({"value": float("nan")}, tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []


def test_json_is_the_same_whatever_the_order_of_its_keys(tmp_path):
    """So that files can be compared byte by byte."""
    first = write_json({"a": 1, "b": [1.5, None]}, tmp_path / "a.json").read_bytes()
    second = write_json({"b": [1.5, None], "a": 1}, tmp_path / "b.json").read_bytes()

    assert first == second
    assert json.loads(first) == {"a": 1, "b": [1.5, None]}
