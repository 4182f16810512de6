"""Trials that hang, take too much memory, or meet a machine that is not ready: each gets what it can use, once."""

import itertools
import json
import re

import pytest

from cluster.keeper import RecordKeeper
from cluster.postponed import Postponed, postponement
from cluster.records import read_record, read_records, write_record
from cluster.rounds import Limits, _bundle
from cluster.session import Resources
from cluster.tuning import TrialRequest, run_trials


def requests(n_trials, **payload):
    """Trials that start in the order of their numbers."""
    return [
        TrialRequest(f"t{n}", {"trial_id": f"t{n}", "number": n, **payload}, expected_cost=-n, known={"row": {"n": n}})
        for n in range(n_trials)
    ]


def by_id(folder):
    """Records by trial id."""
    return {record["trial_id"]: record for record in read_records(folder)}


class Heard:
    """What a listener hears, in order."""

    def __init__(self):
        self.events = []

    def started(self, trial_id):
        self.events.append(("started", trial_id))

    def finished(self, record):
        self.events.append((record["status"], record["trial_id"]))

    def retried(self, trial_id, reason):
        self.events.append(("again", trial_id, reason))


def test_a_trial_that_hangs_is_ended_and_recorded_as_stopped(ray_session, tmp_path):
    """The others go on; the record says how long it was given, and a second start does not try it again."""

    def run(payload):
        import time

        time.sleep(3600 if payload["number"] == 0 else 0.1)
        return {"trial_id": payload["trial_id"], "status": "finished", "row": {}}

    heard = Heard()
    outcome = run_trials(requests(4), run, folder=tmp_path, session=ray_session, longest_seconds=3.0, listeners=[heard])
    again = run_trials(requests(4), run, folder=tmp_path, session=ray_session, longest_seconds=3.0)

    hung = by_id(tmp_path)["t0"]
    assert dict(outcome.statuses) == {"stopped": 1, "finished": 3}
    assert outcome.n_retries == 0
    assert outcome.wall_seconds < 120
    assert hung["status"] == hung["row"]["status"] == "stopped"
    assert hung["reason"] == "it was ended from outside after 3 s, the longest a trial may take"
    assert hung["row"]["n"] == 0
    assert ("stopped", "t0") in heard.events
    assert not [event for event in heard.events if event[0] == "again"]
    assert again.n_already_done == 4


def test_a_trial_without_memory_is_tried_once_more_when_all_else_is_done(ray_session, tmp_path):
    """It succeeds when it is alone, and its record counts what the first attempt took, under `lost`."""
    diary = tmp_path / "diary"

    def run(payload):
        import time
        from pathlib import Path

        first = (
            not Path(payload["diary"]).exists() or f"t{payload['number']} " not in Path(payload["diary"]).read_text()
        )
        with open(payload["diary"], "a") as file:
            file.write(f"t{payload['number']} ")
        time.sleep(0.3)
        if payload["number"] == 1 and first:
            raise MemoryError("640 kB")
        return {"trial_id": payload["trial_id"], "status": "finished", "row": {}}

    heard = Heard()
    outcome = run_trials(
        requests(5, diary=str(diary)), run, folder=tmp_path / "records", session=ray_session, listeners=[heard]
    )

    record = by_id(tmp_path / "records")["t1"]
    assert dict(outcome.statuses) == {"finished": 5}
    assert outcome.n_retries == 1
    assert heard.events[-2:] == [("started", "t1"), ("finished", "t1")]
    assert [event for event in heard.events if event[0] == "again"] == [
        ("again", "t1", "it ran out of memory beside other trials")
    ]
    assert diary.read_text().split().count("t1") == 2
    assert record["attempts"] == 2
    (lost,) = record["retries"]
    assert lost["lost_seconds"] >= 0.3
    assert record["phases"] == [{"phase": "lost", "wall_seconds": lost["lost_seconds"]}]
    assert record["row"]["lost_seconds"] == lost["lost_seconds"]


def test_a_worker_that_dies_behind_a_final_record_costs_no_attempt(ray_session, tmp_path, monkeypatch):
    """Though the kernel ended it for its memory: what is recorded is not repeated, alone or otherwise."""
    counts = itertools.count()
    monkeypatch.setattr("cluster.trainable.kernel_kills", lambda: next(counts))
    folder, diary = tmp_path / "records", tmp_path / "diary"

    def run(payload):
        import os
        from pathlib import Path

        from cluster.records import write_record

        with open(payload["diary"], "a") as file:
            file.write(f"t{payload['number']} ")
        record = {"trial_id": payload["trial_id"], "status": "finished", "row": {"first": True}}
        if payload["number"] == 1:
            write_record(Path(payload["folder"]), record)
            os._exit(1)
        return record

    outcome = run_trials(requests(4, diary=str(diary), folder=str(folder)), run, folder=folder, session=ray_session)

    assert dict(outcome.statuses) == {"finished": 4}
    assert outcome.n_retries == 0
    assert sorted(diary.read_text().split()) == ["t0", "t1", "t2", "t3"]
    assert by_id(folder)["t1"]["row"] == {"first": True}


def test_a_trial_that_alone_has_too_little_memory_is_recorded_so(ray_session, tmp_path):
    """Tried twice, not for ever."""

    def run(payload):
        if payload["number"] == 0:
            raise MemoryError("640 kB")
        return {"trial_id": payload["trial_id"], "status": "finished", "row": {}}

    outcome = run_trials(requests(3), run, folder=tmp_path, session=ray_session)

    record = by_id(tmp_path)["t0"]
    assert dict(outcome.statuses) == {"finished": 2, "failed": 1}
    assert (record["attempts"], record["reason"]) == (2, "MemoryError: 640 kB")


def test_where_there_is_one_machine_its_failures_are_the_trials_own(ray_session, tmp_path):
    """No other machine could do better, so nothing is tried twice."""

    def prepare():
        raise OSError("no data set")

    def run(_):
        raise OSError("no data set")

    outcome = run_trials(requests(2), run, folder=tmp_path, session=ray_session, prepare=prepare)

    assert dict(outcome.statuses) == {"failed": 2}
    assert {record["attempts"] for record in by_id(tmp_path).values()} == {1}


FAILED = {"status": "failed"}


@pytest.mark.parametrize(
    ("record", "unfit", "expected"),
    [
        ({"status": "finished"}, "OSError: x", None),
        ({"status": "diverged", "out_of_memory": True}, "", None),
        (FAILED, "", None),
        (FAILED, "OSError: x", Postponed.ELSEWHERE),
        ({**FAILED, "out_of_memory": True}, "", Postponed.ALONE),
        ({**FAILED, "out_of_memory": True}, "OSError: x", Postponed.ALONE),
    ],
)
def test_what_a_trial_that_failed_waits_for(record, unfit, expected):
    """Only failures wait, and memory is the nearer reason."""
    until, reason = postponement(record, unfit)

    assert until is expected
    assert bool(reason) == (expected is not None)


def test_machines_that_are_unfit_are_left_out_by_their_ids():
    """As Ray's label selectors have it."""
    limits = Limits(Resources(cpus=2), 1, 1, 0, unfit_nodes=frozenset({"b", "a"}))
    bundle = _bundle(limits)

    assert bundle.bundles == [{"CPU": 2.0}]
    assert "!in(a,b)" in repr(bundle.__dict__)


def test_the_keeper_takes_nothing_more_of_a_settled_trial(tmp_path):
    """A worker that wakes up after its end cannot write over the verdict, until the trial is opened again."""
    keeper = RecordKeeper(str(tmp_path))
    late = json.dumps({"trial_id": "a", "status": "finished", "row": {}, "late": True})
    keeper.lost("a", "its machine was lost", 2.5)
    assert keeper.settle("a", json.dumps({"trial_id": "a", "status": "stopped", "row": {}})) == ""
    assert keeper.keep("a", late) == ""
    assert keeper.has("a")
    stopped = read_record(tmp_path / "a.json")
    assert (stopped["status"], stopped["attempts"], stopped["row"]) == ("stopped", 2, {"lost_seconds": 2.5})

    keeper.settle("b")
    assert keeper.has("b")
    keeper.reopen()
    assert not keeper.has("b")
    assert keeper.keep("b", late.replace('"a"', '"b"')) == ""
    assert read_record(tmp_path / "b.json")["late"]


def test_the_keeper_settles_nothing_over_a_final_record(tmp_path):
    """The worker was faster: its result stays."""
    write_record(tmp_path, {"trial_id": "a", "status": "finished", "row": {}})
    RecordKeeper(str(tmp_path)).settle("a", json.dumps({"trial_id": "a", "status": "stopped", "row": {}}))

    assert read_record(tmp_path / "a.json")["status"] == "finished"
    assert not re.search("retries", (tmp_path / "a.json").read_text())
