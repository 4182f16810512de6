"""Records on storage that outlives the machine."""

import json
import threading

import pytest

from cluster.records import read_record, read_records, write_record
from cluster.storage import Mirror, Storage, open_storage


def record(number, **more):
    """A record of a trial."""
    return {"trial_id": f"t{number}", "status": "finished", "row": {"n": number}, **more}


@pytest.fixture
def storage(tmp_path):
    """Storage in a folder; pyarrow treats a bucket alike."""
    return open_storage((tmp_path / "bucket").as_uri(), "mine")


def test_a_new_machine_has_what_the_old_one_finished(storage, tmp_path):
    """The same records, byte for byte in what they say, and only those asked for."""
    old, new = tmp_path / "old", tmp_path / "new"
    with Mirror(storage) as mirror:
        for number in range(5):
            path = write_record(old, record(number, curve=[0.1, 0.2]))
            mirror.finished(read_record(path))

    assert (mirror.n_missing, mirror.problem) == (0, "")
    assert storage.fetch(["t0", "t1", "t2", "t9"], new) == 3
    assert [one["trial_id"] for one in read_records(new)] == ["t0", "t1", "t2"]
    assert read_record(new / "t1.json") == read_record(old / "t1.json")
    assert storage.fetch(["t0", "t1", "t2"], new) == 0
    assert sorted(path.name for path in (tmp_path / "bucket" / "mine" / "trials").iterdir()) == [
        f"t{number}.json" for number in range(5)
    ]


def test_storage_that_nobody_wrote_to_holds_nothing(storage):
    """It need not exist."""
    assert storage.trial_ids() == set()


def test_a_damaged_record_is_not_fetched(storage, tmp_path, caplog):
    """Its trial is run again: half a record, another's record, something else."""
    storage.write(record(0))
    folder = tmp_path / "bucket" / "mine" / "trials"
    (folder / "t1.json").write_text('{"trial_id": "t1", "st')
    (folder / "t2.json").write_text(json.dumps(record(0)))
    (folder / "t3.json").write_text("[]")

    assert storage.fetch(["t0", "t1", "t2", "t3"], tmp_path / "new") == 1
    assert len(caplog.records) == 3


def test_a_failed_record_is_fetched_over_by_a_finished_one(storage, tmp_path):
    """The folder's own failure gives way."""
    write_record(tmp_path / "new", {**record(0), "status": "failed"})
    storage.write(record(0))

    assert storage.fetch(["t0"], tmp_path / "new") == 1
    assert read_record(tmp_path / "new" / "t0.json")["status"] == "finished"


def test_storage_that_is_away_holds_up_nothing_and_catches_up(storage, monkeypatch, caplog):
    """A sweep's records are tried again at its end; what is missing even then is said."""
    monkeypatch.setattr("cluster.storage.PAUSES_SECONDS", (0.0,))
    away = threading.Event()
    away.set()
    write = Storage.write

    def stutter(self, one):
        if away.is_set():
            raise OSError("AWS Error SLOW_DOWN: secret_key=abc123 please wait")
        write(self, one)

    monkeypatch.setattr(Storage, "write", stutter)
    mirror = Mirror(storage)
    with mirror:
        mirror.finished(record(0))
        mirror.finished(record(1))
    assert mirror.n_missing == 2
    assert "SLOW_DOWN" in mirror.problem
    assert "abc123" not in mirror.problem + caplog.text

    with Mirror(storage) as later:
        later.finished(record(2))
        away.clear()
    assert later.n_missing == 0
    assert storage.trial_ids() == {"t2"}


@pytest.mark.parametrize("uri", ["results", "/tmp/x", "ftp://host/x", "s3:bucket", "file://relative"])
def test_addresses_of_other_kinds_are_refused(uri):
    """The kinds are named."""
    with pytest.raises(ValueError, match="is none of s3://"):
        Storage(uri)


def test_keys_in_an_address_are_not_repeated():
    """Whatever is wrong with it."""
    with pytest.raises(ValueError, match="storage") as caught:
        Storage("s4://access:hunter2@bucket/x?secret_key=hunter3")
    assert "hunter" not in str(caught.value)


def test_an_id_cannot_leave_the_folder(storage, tmp_path):
    """Records say who they are; where they lie is ours."""
    with pytest.raises(ValueError, match="may hold only"):
        storage.write({"trial_id": "../../escaped", "status": "finished", "row": {}})
    assert not (tmp_path / "bucket").exists()
