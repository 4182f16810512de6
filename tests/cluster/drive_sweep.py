"""A driver in a process of its own, for the tests that break things around it.

Run: python tests/cluster/drive_sweep.py '{"address": ..., "folder": ..., "n_trials": 8, "seconds": 0.5}'

Each execution of a trial that comes to its end leaves a line `id host-process` in `diary` beside the records, so
that repetitions can be counted. Settings: `prepare_fails_where`, a variable whose presence makes a machine unfit;
`storage`, an address; `longest_seconds`, with which trial 0 hangs; `hungry_bytes`, which trial 1 takes bit by bit.
"""

import json
import sys
import time
from pathlib import Path

from cluster.session import Resources, connect
from cluster.storage import Mirror, open_storage
from cluster.tuning import TrialRequest, run_trials


def make(settings):
    """The trial function and its preparation, picklable by value."""
    unfit = settings.get("prepare_fails_where", "")

    def prepare():
        import os

        if unfit and unfit in os.environ:
            raise OSError("no data set on this machine")

    def run(payload):
        import os
        import time

        prepare()
        if payload["number"] == 0 and settings.get("longest_seconds"):
            time.sleep(3600)
        held = []
        for _ in range(16 if payload["number"] == 1 and settings.get("hungry_bytes") else 0):
            held.append(bytearray(os.urandom(2**20)) * (settings["hungry_bytes"] >> 24))
            time.sleep(0.3)
        time.sleep(settings.get("seconds", 0.2))
        diary = os.open(payload["diary"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(diary, f"{payload['trial_id']} {os.getpid()}\n".encode())
        os.close(diary)
        row = {"trial_id": payload["trial_id"], "number": payload["number"]}
        return {"trial_id": payload["trial_id"], "status": "finished", "row": row}

    return run, prepare


class Said:
    """A listener that says what it hears."""

    def started(self, trial_id):
        print(f"started {trial_id}", flush=True)

    def finished(self, record):
        print(f"{record['status']} {record['trial_id']}", flush=True)

    def retried(self, trial_id, reason):
        print(f"again {trial_id}: {reason}", flush=True)


def main(settings):
    """Run the trials and say how it ended."""
    folder = Path(settings["folder"])
    ids = [f"t{number:04d}" for number in range(settings.get("n_trials", 8))]
    diary = str(folder.parent / "diary")
    requests = [
        TrialRequest(trial_id, {"trial_id": trial_id, "number": number, "diary": diary}, expected_cost=-number)
        for number, trial_id in enumerate(ids)
    ]
    run, prepare = make(settings)
    storage = open_storage(settings.get("storage"), "sweep")
    listeners = [Said()]
    if storage is not None:
        print(f"fetched {storage.fetch(ids, folder)}", flush=True)
        listeners.append(Mirror(storage).__enter__())
    began = time.monotonic()
    with connect(settings["address"], cpus=settings.get("cpus")) as session:
        outcome = run_trials(
            requests,
            run,
            folder=folder,
            session=session,
            prepare=prepare,
            resources=Resources(cpus=settings.get("trial_cpus", 1)),
            listeners=listeners,
            longest_seconds=settings.get("longest_seconds"),
        )
    for listener in listeners[1:]:
        listener.__exit__(None, None, None)
    print(f"{outcome.sentence('again')} after {time.monotonic() - began:.1f} s, {outcome.n_retries} lost", flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
