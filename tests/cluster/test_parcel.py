"""Records that travel as text: what is packed comes out, and what was never packed does not."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.parcel import BEGIN, END, pack, store, unpack
from cluster.records import read_records, write_record

ROOT = Path(__file__).parents[2]
TEXT = st.text(max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(TEXT, JSON, max_size=4), max_size=6), TEXT, TEXT)
def test_what_is_packed_comes_out_whatever_is_printed_around_it(records, before, after):
    """For all that JSON can hold, and any noise in the log."""
    assert unpack(f"{before}\n{pack(records)}\n{after}") == records


def record(number, **more):
    """A record of a trial."""
    return {"trial_id": f"t{number}", "status": "finished", "row": {"n": number}, **more}


def test_the_program_packs_folders(tmp_path):
    """As a job on the head runs it."""
    for number in range(3):
        write_record(tmp_path, record(number))
    done = subprocess.run(
        [sys.executable, "-m", "cluster.parcel", str(tmp_path), str(tmp_path / "none")],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert [one["trial_id"] for one in unpack(done.stdout)] == ["t0", "t1", "t2"]


@pytest.mark.parametrize(
    "log",
    ["", "nothing here", f"{BEGIN}\n!!!\n{END}", f"{BEGIN}\nAAAA\n{END}", f"{END}\n{BEGIN}"],
)
def test_a_log_without_a_whole_parcel_is_refused(log):
    """With a sentence that says what came instead."""
    with pytest.raises(ValueError, match="parcel of records"):
        unpack(log)


def test_a_parcel_that_was_cut_short_is_refused():
    """Half of the records are not passed for all."""
    lines = pack(record(number, text="x" * 500 + str(number) * 50) for number in range(300)).splitlines()
    inside = "".join(lines[1:-1])
    cut = inside[: len(inside) // 8 * 4]
    with pytest.raises(ValueError, match="damaged"):
        unpack("\n".join([BEGIN, cut, END]))


@pytest.mark.parametrize("content", [{"trial_id": "../../x", "status": "failed", "row": {}}, {"trial_id": "a"}, 7, "x"])
def test_what_is_no_record_is_not_stored(tmp_path, content):
    """Nor is anything written outside the folder."""
    with pytest.raises(ValueError, match=r"may hold only|is no record"):
        store([content], tmp_path / "inner")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_is_at_home_stays(tmp_path):
    """A final record is not written over; a failed one is."""
    write_record(tmp_path, record(0, here=True))
    write_record(tmp_path, {**record(1), "status": "failed"})

    assert store([record(number) for number in range(3)], tmp_path) == 2
    found = {one["trial_id"]: one for one in read_records(tmp_path)}
    assert found["t0"]["here"]
    assert {one["status"] for one in found.values()} == {"finished"}
