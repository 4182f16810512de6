"""Two people who deliver the same trials from different folders at once: each trial is there once in the end."""

import fcntl
import shutil

import pytest

from cluster.delivery_log import DeliveryLog
from cluster.mlflow_store import MlflowStore
from cluster.tracking import Tracker
from scaling import read_runs

EXPERIMENT = "shared"


def record(number=0, hour=1, error=0.5):
    """A trial's record, from when on it ran and what it found."""
    trial_id = f"{number:016x}"
    moment = f"2026-01-01T{hour:02d}:00:00+00:00"
    row = {"trial_id": trial_id, "sweep": "s", "status": "finished", "test_error": error, "train_flops": 1e6}
    return {"trial_id": trial_id, "sweep": "s", "status": "finished", "row": row, "spec": {},
            "started_at": moment, "ended_at": moment}  # fmt: skip


@pytest.fixture
def people(tmp_path):
    """Two trackers with folders of their own, both of which have found the experiment without runs."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    found = [Tracker.open(uri, EXPERIMENT, folder=tmp_path / name) for name in ("ada", "ben")]
    for tracker in found:
        tracker._connected()
    return found


def rows(tracker):
    """What a reader sees of the experiment."""
    return read_runs(f"{tracker.uri}#{EXPERIMENT}")


@pytest.mark.parametrize("looks", [0, 1])
@pytest.mark.parametrize(("hours", "stays"), [((1, 2), 0.2), ((2, 1), 0.1)])
def test_of_a_trial_that_both_have_run_the_younger_record_stays(people, hours, stays, looks):
    """Whoever syncs, and then the other as well; a third time changes nothing."""
    records = [record(hour=hours[0], error=0.1), record(hour=hours[1], error=0.2)]
    for tracker, one in zip(people, records, strict=True):
        tracker.start()
        tracker.finished(one)
        tracker.close()
    assert read_twice(people[0]) == {0.1, 0.2}

    for turn in (looks, 1 - looks, looks):
        assert people[turn].deliver_missing([records[turn]]).n_missing == 0
        assert rows(people[0])["test_error"].tolist() == [stays]


def read_twice(tracker):
    """The errors of both runs, which no runs table can hold."""
    from mlflow import MlflowClient

    client = MlflowClient(tracker.uri)
    experiment_id = client.get_experiment_by_name(EXPERIMENT).experiment_id
    runs = client.search_runs([experiment_id], "tags.kind = 'trial'")
    assert len(runs) == 2
    return {run.data.metrics["test_error"] for run in runs}


def test_the_same_records_from_two_copies_are_there_once(people):
    """As from the head of a cluster and from home; the notes of both lead to the run that is there."""
    records = [record(number, error=0.1 + number / 100) for number in range(4)]
    for tracker in people:
        tracker.start()
        for one in records:
            tracker.finished(one)
        tracker.close()
    for tracker in people:
        assert tracker.deliver_missing(records).n_missing == 0

    assert rows(people[0])["test_error"].tolist() == pytest.approx([0.1, 0.11, 0.12, 0.13])
    notes = [DeliveryLog(tracker._log.path.parents[1], tracker.uri, EXPERIMENT).run_ids for tracker in people]
    assert notes[0] == notes[1]
    assert len(set(notes[0].values())) == 4


def test_whoever_logs_models_from_the_same_folder_waits_for_the_other(tmp_path, monkeypatch):
    """A model that is half-written would be taken for a leftover, and deleted."""
    tracker = Tracker.open(None, EXPERIMENT, folder=tmp_path)
    refused = []

    def put(store, sweep, models, runs):
        del store, sweep, models, runs
        for path in (tmp_path / "tracking").glob("delivered-*.lock"):
            with open(path) as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            refused.append(path)

    monkeypatch.setattr(MlflowStore, "put_models", put)

    assert tracker.log_models("s", []) == ""
    assert len(refused) == 1


def test_a_folder_goes_by_one_name_and_its_copy_by_another(tmp_path):
    """Else the runs of a copied folder would pass for its own."""
    first = DeliveryLog(tmp_path / "a", "http://h", EXPERIMENT)
    name = first.writer()
    shutil.copytree(tmp_path / "a", tmp_path / "b")

    assert DeliveryLog(tmp_path / "a", "http://other", EXPERIMENT).writer() == name == first.writer()
    assert DeliveryLog(tmp_path / "b", "http://h", EXPERIMENT).writer() != name


def test_a_run_that_was_removed_for_good_leaves_the_other(people, tmp_path):
    """As by `mlflow gc`: the notes lead to the run that is there, and a sync succeeds."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for tracker in people:
        tracker.start()
        tracker.finished(record())
        tracker.close()
    own, other = (DeliveryLog(tracker._log.path.parents[1], tracker.uri, EXPERIMENT).run_ids for tracker in people)
    SqlAlchemyStore(people[0].uri, str(tmp_path / "artifacts"))._hard_delete_run(own[record()["trial_id"]])

    assert people[0].deliver_missing([record()]).n_missing == 0

    assert DeliveryLog(people[0]._log.path.parents[1], people[0].uri, EXPERIMENT).run_ids == other
