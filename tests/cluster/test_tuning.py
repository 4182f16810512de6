"""Trials on a real Ray: each recorded once, whatever becomes of its worker."""

import json
import os
import signal
import time

import pytest

from cluster.attempt import record_text
from cluster.keeper import RecordKeeper, start_keeper
from cluster.lock import FolderInUseError, hold_folder
from cluster.records import read_records, write_record
from cluster.session import Resources
from cluster.tuning import TrialRequest, run_trials


class Diary:
    """A listener that writes down what it hears."""

    def __init__(self, after=None):
        self.started_ids, self.records, self.retries = [], [], []
        self._after = after or {}

    def started(self, trial_id):
        self.started_ids.append(trial_id)

    def finished(self, record):
        self.records.append(record)
        self._after.get(len(self.records), lambda: None)()

    def retried(self, trial_id, reason):
        self.retries.append((trial_id, reason))


def requests(n_trials, **payload):
    """Trials whose expected cost falls with their number."""
    return [
        TrialRequest(
            f"trial-{n:03d}",
            {"trial_id": f"trial-{n:03d}", "number": n, **payload},
            expected_cost=n_trials - n,
            known={"sweep": "s", "row": {"width": n}},
        )
        for n in range(n_trials)
    ]


def by_id(folder):
    """Records of a folder by trial id."""
    return {record["trial_id"]: record for record in read_records(folder)}


def trial(work=None):
    """A trial function that works and returns a record; defined inside, so that it travels by value."""

    def run(payload):
        import os

        extra = work(payload) if work else {}
        row = {"trial_id": payload["trial_id"], "status": "finished"}
        return {"trial_id": payload["trial_id"], "status": "finished", "row": row, "pid": os.getpid(), **extra}

    return run


def test_every_trial_leaves_a_record_and_is_heard_of_once(ray_session, tmp_path):
    """Two processes share the trials, the dearest go first, and Tune leaves nothing behind."""
    diary = Diary()

    def work(payload):
        import time

        # The first two wait for each other, so that there must be two workers.
        if payload["number"] < 2:
            time.sleep(4)
        return {}

    outcome = run_trials(requests(12)[::-1], trial(work), folder=tmp_path, session=ray_session, listeners=[diary])

    records = by_id(tmp_path)
    assert (outcome.n_requested, outcome.n_already_done, dict(outcome.statuses)) == (12, 0, {"finished": 12})
    assert sorted(records) == [request.trial_id for request in requests(12)]
    assert sorted(diary.started_ids[:2]) == ["trial-000", "trial-001"]
    # Two workers may report in either order, so a trial is heard of at most one place from its own.
    places = {trial_id: place for place, trial_id in enumerate(diary.started_ids)}
    assert sorted(places) == sorted(records)
    assert all(abs(places[f"trial-{n:03d}"] - n) <= 1 for n in range(2, 12))
    assert sorted(record["trial_id"] for record in diary.records) == sorted(records)
    assert all(record == records[record["trial_id"]] for record in diary.records)
    assert len({record["pid"] for record in records.values()}) == 2
    assert {record["attempts"] for record in records.values()} == {1}
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ""}
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ""] == [".lock"]
    assert outcome.sentence("again") == "12 of 12 trials are done"


def test_finished_trials_are_not_run_again_and_failed_ones_are(ray_session, tmp_path):
    """The records decide, and a sweep that has nothing to do starts nothing."""
    for n, status in enumerate(["finished", "diverged", "stopped", "failed"]):
        write_record(tmp_path, {"trial_id": f"trial-{n:03d}", "status": status, "row": {}, "old": True})

    outcome = run_trials(requests(5), trial(), folder=tmp_path, session=ray_session)
    again = run_trials(requests(5), trial(), folder=tmp_path, session=ray_session)

    assert [record.get("old", False) for record in by_id(tmp_path).values()] == [True, True, True, False, False]
    assert (outcome.n_already_done, dict(outcome.statuses)) == (3, {"finished": 2})
    assert (again.n_already_done, dict(again.statuses), again.startup_seconds) == (5, {}, 0.0)


def test_a_worker_that_is_killed_is_replaced_and_its_trial_repeated(ray_session, tmp_path):
    """The record counts the attempts and says what they cost; the other trials do not notice."""
    diary, marks = Diary(), tmp_path / "marks"
    marks.mkdir()

    def work(payload):
        import os
        import signal
        import time
        from pathlib import Path

        mark = Path(payload["marks"]) / "was-here"
        if payload["number"] == 1 and not mark.exists():
            mark.touch()
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        return {}

    outcome = run_trials(
        requests(4, marks=str(marks)), trial(work), folder=tmp_path / "records", session=ray_session,
        listeners=[diary],
    )  # fmt: skip

    records = by_id(tmp_path / "records")
    assert dict(outcome.statuses) == {"finished": 4}
    assert outcome.n_retries == 1
    assert [trial_id for trial_id, _ in diary.retries] == ["trial-001"]
    assert "worker died" in diary.retries[0][1]
    assert [record["attempts"] for record in records.values()] == [1, 2, 1, 1]
    (lost,) = records["trial-001"]["retries"]
    assert 0.5 <= lost["lost_seconds"] < 30


def test_a_trial_that_kills_every_worker_becomes_a_failed_record(ray_session, tmp_path):
    """After the last attempt there is a record with the reason, on what was known beforehand."""

    def work(payload):
        import os
        import signal

        if payload["number"] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return {}

    outcome = run_trials(
        requests(3), trial(work), folder=tmp_path, session=ray_session, max_retries=1, listeners=[Diary()]
    )

    record = by_id(tmp_path)["trial-000"]
    assert dict(outcome.statuses) == {"finished": 2, "failed": 1}
    assert record["reason"].startswith("given up after 2 attempts: its worker died")
    assert record["row"] == {
        "width": 0, "trial_id": "trial-000", "status": "failed", "reason": record["reason"],
        "lost_seconds": sum(retry["lost_seconds"] for retry in record["retries"]),
    }  # fmt: skip
    assert (record["sweep"], record["attempts"], len(record["retries"])) == ("s", 2, 2)
    assert outcome.sentence("again") == "2 of 3 trials are done; 1 failed; `again` goes on with the rest"


def test_whatever_a_trial_returns_or_raises_becomes_a_record(ray_session, tmp_path):
    """Exceptions, numbers that JSON has not, other things than records, and the id of another trial."""

    def work(payload):
        if payload["number"] == 0:
            raise RuntimeError("the disk of this machine is on fire")
        wrong = [{}, {"energy": float("nan")}, {"trial_id": "../../escaped"}, {"note": object()}, {}]
        return wrong[payload["number"]]

    outcome = run_trials(requests(5), trial(work), folder=tmp_path / "records", session=ray_session)

    records = list(by_id(tmp_path / "records").values())
    assert dict(outcome.statuses) == {"finished": 1, "failed": 4}
    assert outcome.n_retries == 0
    assert records[0]["reason"] == "RuntimeError: the disk of this machine is on fire"
    assert "in work" in records[0]["traceback"]
    assert "not JSON compliant" in records[1]["reason"]
    assert "returned the record of '../../escaped'" in records[2]["reason"]
    assert "not JSON serializable" in records[3]["reason"]
    assert {path.name for path in tmp_path.iterdir()} == {"records"}


def test_a_function_that_workers_cannot_load_fails_its_trials_with_the_reason(ray_session, tmp_path):
    """It is no worker's death: nothing is repeated."""

    class Unloadable:
        def __reduce__(self):
            return (__import__, ("a_module_of_the_driver_only",))

    outcome = run_trials(requests(1), Unloadable(), folder=tmp_path, session=ray_session)

    assert outcome.n_retries == 0
    assert "a_module_of_the_driver_only" in by_id(tmp_path)["trial-000"]["reason"]


def test_a_trial_finds_its_process_as_if_it_were_the_first(ray_session, tmp_path):
    """Environment, folder and global seeds of the trial before are undone."""

    def work(payload):
        import os
        import random

        found = {
            "mark": os.environ.get("MARK"), "folder": os.getcwd(), "threads": os.environ["OMP_NUM_THREADS"],
            "draw": random.random(),
        }  # fmt: skip
        os.environ["MARK"] = "left behind"
        os.chdir("/")
        random.seed(payload["number"])
        return found

    run_trials(requests(6), trial(work), folder=tmp_path, session=ray_session)

    records = list(by_id(tmp_path).values())
    assert {record["mark"] for record in records} == {None}
    assert {record["folder"] for record in records} == {os.getcwd()}
    assert {record["threads"] for record in records} == {"1"}
    assert len({record["draw"] for record in records}) == 1


@pytest.mark.usefixtures("ray_session")
def test_an_attempt_whose_record_is_on_disk_is_not_repeated(tmp_path):
    """A worker that died between its record and its report has finished its trial."""
    from ray import cloudpickle

    from cluster.trainable import TrialActor

    def never(_):
        raise AssertionError("ran again")

    (request,) = requests(1)
    keeper = start_keeper(tmp_path)
    actor = object.__new__(TrialActor)
    function, prepare = cloudpickle.dumps(never), cloudpickle.dumps(None)
    sweep = {"requests": [request], "function": function, "prepare": prepare, "keeper": keeper}
    actor.setup({}, {**sweep, "may_postpone": frozenset(), "memory_fraction": 1.0})
    write_record(tmp_path, {"trial_id": request.trial_id, "status": "finished", "row": {}, "first": True})

    actor.config = {"index": 0, "attempt": 2}
    assert actor.step()["done"]
    assert by_id(tmp_path)[request.trial_id]["first"]


def test_each_worker_is_prepared_before_its_first_trial(ray_session, tmp_path):
    """Once per process, however many trials it runs; what it raises is left for the trial to meet."""
    marks = tmp_path / "marks"
    marks.mkdir()

    def prepare():
        (marks / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        raise RuntimeError("no such data")

    outcome = run_trials(requests(6), trial(), folder=tmp_path / "records", session=ray_session, prepare=prepare)

    prepared = [path.name.split("-")[0] for path in marks.iterdir()]
    assert outcome.statuses == {"finished": 6}
    assert prepared
    assert len(prepared) == len(set(prepared))


def test_ctrl_c_ends_the_sweep_and_says_how_to_go_on(ray_session, tmp_path):
    """What is recorded stays; the rest is run by the next start."""
    interrupt = Diary({3: lambda: os.kill(os.getpid(), signal.SIGINT)})

    first = run_trials(requests(30), trial(), folder=tmp_path, session=ray_session, listeners=[interrupt])
    # Trials that were under way may have left their records after the call returned.
    n_recorded = len(by_id(tmp_path))
    second = run_trials(requests(30), trial(), folder=tmp_path, session=ray_session)

    assert first.interrupted
    assert 3 <= first.n_recorded <= n_recorded < 30
    assert first.sentence("make sweep").startswith(f"stopped: {first.n_recorded} of 30 trials are done; `make sweep`")
    assert not second.interrupted
    assert second.n_already_done >= n_recorded
    assert second.n_recorded == 30


def test_a_record_that_cannot_be_written_ends_the_sweep(ray_session, tmp_path):
    """To train on without a place for the results would waste them."""

    def work(payload):
        from pathlib import Path

        if payload["number"] == 1:
            Path(payload["folder"], "trial-001.json").mkdir()
        return {}

    with pytest.raises(OSError, match=r"trial-001\.json could not be written.*start again"):
        run_trials(requests(40, folder=str(tmp_path)), trial(work), folder=tmp_path, session=ray_session)


def test_a_second_driver_on_the_folder_is_refused(ray_session, tmp_path):
    """By the lock, before any worker starts."""
    with hold_folder(tmp_path), pytest.raises(FolderInUseError, match=f"process {os.getpid()}"):
        run_trials(requests(1), trial(), folder=tmp_path, session=ray_session)


def test_requests_that_cannot_be_met_are_refused_at_once(ray_session, tmp_path):
    """Too large, twice the same, an id that leaves the folder, a negative number of retries."""
    run = {"folder": tmp_path / "records", "session": ray_session}

    with pytest.raises(ValueError, match="64 CPU"):
        run_trials(requests(1), trial(), resources=Resources(cpus=64), **run)
    with pytest.raises(ValueError, match="requested 2 times"):
        run_trials(requests(1) * 2, trial(), **run)
    with pytest.raises(ValueError, match="may hold only"):
        run_trials([TrialRequest("../x", {})], trial(), **run)
    with pytest.raises(ValueError, match="max_retries"):
        run_trials(requests(1), trial(), max_retries=-1, **run)
    with pytest.raises(ValueError, match="not JSON"):
        run_trials([TrialRequest("x", {}, known={"row": {"a": float("nan")}})], trial(), **run)
    assert list(tmp_path.iterdir()) == []


def test_workers_that_can_run_nothing_end_the_sweep_early(ray_session, tmp_path):
    """Three trials are given up; the other forty are not tried."""

    def work(_):
        import os

        os._exit(1)

    with pytest.raises(RuntimeError, match=r"no worker could run a trial.*worker died"):
        run_trials(requests(43), trial(work), folder=tmp_path, session=ray_session, max_retries=0)

    assert 3 <= len(by_id(tmp_path)) <= 5


def test_the_keeper_tries_again_when_the_disk_is_full_for_a_moment(tmp_path, monkeypatch):
    """A pause costs no trial; a disk that stays full is reported, not hidden."""
    calls = []

    def stutter(_, record):
        calls.append(record["trial_id"])
        if len(calls) == 1 or calls.count("b"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("cluster.keeper.write_record", stutter)
    monkeypatch.setattr("cluster.keeper.time.sleep", lambda _: None)
    keeper = RecordKeeper(str(tmp_path))

    assert keeper.keep("a", json.dumps({"trial_id": "a"})) == ""
    assert "No space left" in keeper.keep("b", json.dumps({"trial_id": "b"}))


def test_a_request_to_leave_the_process_is_not_caught():
    """Only errors become records; a worker that is told to stop stops."""
    from ray import cloudpickle

    def leave(_):
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        record_text(requests(1)[0], cloudpickle.dumps(leave))
