"""Records on disk: whole or absent, and never outside their folder."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from cluster.records import final_ids, final_record, read_record, read_records, write_record


def record(trial_id="a", status="finished", **values):
    """A record as small as can be."""
    return {"trial_id": trial_id, "status": status, "row": {"test_error": 0.1}, **values}


def test_a_record_comes_back_as_it_was_written(tmp_path):
    """Reading is the inverse of writing, up to the version that is added."""
    path = write_record(tmp_path / "new", record(curve=[{"step": 1}]))

    assert read_record(path) == {"record_version": 1, **record(curve=[{"step": 1}])}
    assert [path] == list((tmp_path / "new").iterdir())


@pytest.mark.parametrize("trial_id", ["../a", "a/b", "", ".hidden", "a b", "a" * 200, "a\n", "é", "a\0"])
def test_an_id_that_could_leave_the_folder_is_refused(tmp_path, trial_id):
    """No file is written, inside or outside."""
    with pytest.raises(ValueError, match="trial id"):
        write_record(tmp_path / "records", record(trial_id))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_has_not_are_refused_and_leave_the_old_record(tmp_path, value):
    """A record that cannot be written does not harm the one that is there."""
    write_record(tmp_path, record())

    with pytest.raises(ValueError, match="JSON"):
        write_record(tmp_path, record(energy=value))

    assert read_record(tmp_path / "a.json")["row"] == {"test_error": 0.1}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_on_the_way_leaves_no_half_of_a_record(tmp_path, monkeypatch, step):
    """A full disk shows as an error and in no file."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left"):
        write_record(tmp_path, record())

    assert list(tmp_path.iterdir()) == []


def test_a_writer_killed_at_any_moment_leaves_whole_records_only(tmp_path):
    """A process that does nothing but write one record is killed; what lies there can be read."""
    script = (
        "import sys; from pathlib import Path; from cluster.records import write_record\n"
        "n = 0\n"
        "while True:\n"
        "    n += 1\n"
        "    write_record(Path(sys.argv[1]), {'trial_id': 'a', 'status': 'finished', 'n': [n] * 20_000})\n"
    )
    for pause_seconds in (0.01, 0.02, 0.05):
        writer = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
        while not (tmp_path / "a.json").exists():
            time.sleep(0.01)
        time.sleep(pause_seconds)
        writer.send_signal(signal.SIGKILL)
        writer.wait()

        values = read_record(tmp_path / "a.json")["n"]
        assert len(values) == 20_000
        assert len(set(values)) == 1


def test_only_failed_trials_are_to_be_run_again(tmp_path):
    """Divergence and a stop are results; a failure is tried again."""
    for status in ("finished", "diverged", "stopped", "failed"):
        write_record(tmp_path, record(f"trial-{status}", status))
    (tmp_path / "of-another-grid.json").write_text("damaged")
    ids = ["trial-finished", "trial-diverged", "trial-stopped", "trial-failed", "absent"]

    assert final_ids(tmp_path, ids) == {"trial-finished", "trial-diverged", "trial-stopped"}
    assert final_record(tmp_path, "trial-failed") is None
    assert final_record(tmp_path, "absent") is None
    assert final_record(tmp_path, "trial-diverged")["status"] == "diverged"


def test_a_folder_that_is_not_there_holds_no_records(tmp_path):
    """The first start of a sweep finds nothing done."""
    assert final_ids(tmp_path / "absent", ["a", "b"]) == set()
    assert list(read_records(tmp_path / "absent")) == []


@pytest.mark.parametrize("text", ["{", "[]", "{}", json.dumps({"record_version": 0}), "\ud800"])
def test_a_damaged_or_foreign_file_is_named(tmp_path, text):
    """The message says which file to delete or to move away."""
    path = tmp_path / "bad.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))

    with pytest.raises(ValueError, match=r"bad\.json"):
        read_record(path)
