"""What trials under way leave: checkpoints and what they spent, on this disk, in storage, and by way of the keeper."""

import json

import pytest

from cluster.checkpoints import CheckpointFolder, Checkpointing, Spent
from cluster.keeper import RecordKeeper, with_retries
from cluster.records import read_record, write_record
from cluster.tuning import TrialRequest, run_trials

LOST = {"reason": "why", "lost_seconds": 4.0, "lost_flops": 20.0, "lost_joules": 3.0}


def test_what_came_after_the_last_checkpoint_is_lost(tmp_path):
    """Of 10 s and 50 FLOP 6 s and 30 FLOP are in the checkpoint; a later attempt begins to count anew."""
    folder = CheckpointFolder(tmp_path)
    folder.report("a", Spent(3.0, 15.0, 2.0))
    folder.save("a", b"first", Spent(6.0, 30.0, 4.0))
    folder.report("a", Spent(9.0, 50.0, 7.0))

    assert folder.end_attempt("a", "why", 10.0) == LOST
    assert folder.load("a") == b"first"
    folder.report("a", Spent(1.0, 5.0, 0.5))
    assert folder.end_attempt("a", "again", 2.0) == {
        "reason": "again", "lost_seconds": 2.0, "lost_flops": 5.0, "lost_joules": 0.5
    }  # fmt: skip
    assert [retry["reason"] for retry in folder.retries("a")] == ["why", "again"]


def test_what_nobody_was_told_is_unknown_and_not_nothing(tmp_path):
    """Before the first word, after the last checkpoint, and without a meter."""
    folder = CheckpointFolder(tmp_path)
    assert folder.end_attempt("silent", "why", 8.0)["lost_flops"] is None

    folder.save("saved", b"", Spent(6.0, 30.0, 4.0))
    lost = folder.end_attempt("saved", "why", 8.0)
    assert (lost["lost_seconds"], lost["lost_flops"], lost["lost_joules"]) == (2.0, None, None)

    folder.report("unmetered", Spent(6.0, 30.0, None))
    lost = folder.end_attempt("unmetered", "why", 8.0)
    assert (lost["lost_flops"], lost["lost_joules"]) == (30.0, None)


def test_the_lost_phase_of_a_record_sums_what_is_known_of_every_attempt():
    """Two attempts: both known; and one of them unknown, where the sum is left out."""
    record = {"trial_id": "a", "status": "finished", "row": {"width": 1}, "phases": [{"phase": "train"}]}

    both = with_retries(record, [LOST, LOST])
    one = with_retries(record, [LOST, {**LOST, "lost_flops": None}])

    assert both["phases"][-1] == {"phase": "lost", "wall_seconds": 8.0, "flops": 40.0, "energy_joules": 6.0}
    assert both["row"] == {"width": 1, "lost_seconds": 8.0, "lost_flops": 40.0, "lost_joules": 6.0}
    assert one["phases"][-1] == {"phase": "lost", "wall_seconds": 8.0, "energy_joules": 6.0}
    assert "lost_flops" not in one["row"]
    assert (both["attempts"], one["attempts"]) == (3, 3)


def test_a_refused_checkpoint_is_lost_with_the_attempt_that_wrote_it(tmp_path):
    """What had gone into it is added to what that attempt had lost already."""
    folder = CheckpointFolder(tmp_path)
    folder.save("a", b"first", Spent(6.0, 30.0, 4.0))
    folder.report("a", Spent(9.0, 50.0, 7.0))
    folder.end_attempt("a", "why", 10.0)

    folder.discard("a", Spent(6.0, 30.0, None))

    assert folder.retries("a") == [{**LOST, "lost_seconds": 10.0, "lost_flops": 50.0, "lost_joules": None}]
    assert folder.load("a") is None


def test_the_next_driver_takes_over_and_the_record_ends_it(tmp_path):
    """After a driver's death its trials' checkpoints are there, and what they lost; with the record nothing is left."""
    first = CheckpointFolder(tmp_path)
    first.save("a", b"content", Spent(6.0, 30.0, 4.0))
    first.report("a", Spent(9.0, 50.0, 7.0))
    keeper = RecordKeeper(str(tmp_path))

    assert keeper.waiting() == {"a"}
    assert keeper.load_checkpoint("a") == b"content"
    keeper.keep("a", json.dumps({"trial_id": "a", "status": "finished", "row": {}}))

    record = read_record(tmp_path / "a.json")
    assert record["retries"] == [
        {"reason": "its sweep ended before it did", "lost_seconds": 3.0, "lost_flops": 20.0, "lost_joules": 3.0}
    ]
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert keeper.waiting() == set()


def test_a_failed_trial_keeps_its_checkpoint_for_the_next_start(tmp_path):
    """And a checkpoint that outlived its record, since its driver died in between, goes at the next start."""
    keeper = RecordKeeper(str(tmp_path))
    for trial_id in ("failed", "finished"):
        keeper.save_checkpoint(trial_id, b"content", Spent(1.0))
    keeper.keep("failed", json.dumps({"trial_id": "failed", "status": "failed", "row": {}}))
    write_record(tmp_path, {"trial_id": "finished", "status": "finished", "row": {}})

    assert RecordKeeper(str(tmp_path)).waiting() == {"failed"}
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["failed.pt"]


def test_storage_has_a_copy_that_outlives_the_head(tmp_path):
    """A new head with an empty disk goes on from it; with the record it is deleted there too."""
    storage = Checkpointing(60.0, (tmp_path / "bucket").as_uri(), "sweep")
    RecordKeeper(str(tmp_path / "lost"), storage).save_checkpoint("a", b"content", Spent(1.0))

    head = RecordKeeper(str(tmp_path / "new"), storage)
    assert head.waiting() == {"a"}
    assert head.load_checkpoint("a") == b"content"
    head.keep("a", json.dumps({"trial_id": "a", "status": "finished", "row": {}}))

    record = read_record(tmp_path / "new" / "a.json")
    assert record["attempts"] == 2
    assert record["retries"] == [
        {"reason": "it was begun under a head that is gone"}
        | dict.fromkeys(("lost_seconds", "lost_flops", "lost_joules"))
    ]
    # Unknown is neither 0 nor a number: the phase says that something was lost, the row does not say how much.
    assert (record["phases"], record["row"]) == ([{"phase": "lost"}], {})
    assert not list((tmp_path / "bucket").rglob("*.pt"))
    assert RecordKeeper(str(tmp_path / "third"), storage).waiting() == set()


def test_a_checkpoint_of_a_lost_head_that_is_of_no_use_leaves_the_loss_unknown(tmp_path):
    """What was in it is known, what came after it is not, and so the sum is not."""
    storage = Checkpointing(60.0, (tmp_path / "bucket").as_uri(), "sweep")
    CheckpointFolder(tmp_path / "lost", storage).save("a", b"content", Spent(6.0, 30.0, 4.0))
    head = CheckpointFolder(tmp_path / "new", storage)

    head.discard("a", Spent(6.0, 30.0, 4.0))

    (lost,) = head.retries("a")
    assert (lost["lost_seconds"], lost["lost_flops"], lost["lost_joules"]) == (None, None, None)
    assert not list((tmp_path / "bucket").rglob("*.pt"))


def test_a_disk_that_takes_no_checkpoint_ends_no_trial(tmp_path, caplog):
    """It is said in the log, and the trial goes on."""
    (tmp_path / "checkpoints").write_text("in the way")
    folder = CheckpointFolder(tmp_path)

    folder.save("a", b"content", Spent(1.0))

    assert "could not be written" in caplog.text
    assert folder.load("a") is None


def test_a_killed_worker_s_trial_goes_on_from_its_checkpoint(ray_session, tmp_path):
    """SIGKILL at step 7 of 10, the last checkpoint at step 5: two steps are done twice, and two are lost."""

    def run(payload, checkpoints):
        import os
        import signal
        import time
        from pathlib import Path

        from cluster.checkpoints import Spent

        before = int(checkpoints.load() or b"0")
        began = time.monotonic()
        for step in range(before + 1, 11):
            with Path(payload["diary"]).open("a") as diary:
                diary.write(f"{step}\n")
            time.sleep(0.1)
            spent = Spent(time.monotonic() - began, 100.0 * (step - before), None)
            if step == 5:
                checkpoints.save(str(step).encode(), spent)
            checkpoints.report(spent)
            if step == 7 and not before:
                checkpoints.settle()
                os.kill(os.getpid(), signal.SIGKILL)
        return {"trial_id": payload["trial_id"], "status": "finished", "row": {}, "began_at": before}

    diary = tmp_path / "diary"
    request = TrialRequest("a", {"trial_id": "a", "diary": str(diary)})
    records = tmp_path / "records"

    run_trials([request], run, folder=records, session=ray_session, checkpointing=Checkpointing(60.0))

    record = read_record(records / "a.json")
    assert [int(line) for line in diary.read_text().split()] == [1, 2, 3, 4, 5, 6, 7, 6, 7, 8, 9, 10]
    assert (record["began_at"], record["attempts"]) == (5, 2)
    assert record["row"]["lost_flops"] == pytest.approx(200.0)
    assert "lost_joules" not in record["row"]
    assert record["phases"][-1]["flops"] == pytest.approx(200.0)
    assert record["row"]["lost_seconds"] >= 0.2
    assert list((records / "checkpoints").iterdir()) == []
