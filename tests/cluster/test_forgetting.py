"""A long sweep holds no more in memory than a short one: what has ended is let go."""

import gc

from cluster.tuning import TrialRequest, run_trials


class Census:
    """A listener that counts Tune's trials in memory at some records."""

    def __init__(self, *moments):
        self._moments = moments
        self._n_finished = 0
        self.counts = []

    def started(self, trial_id):
        pass

    def retried(self, trial_id, reason):
        pass

    def finished(self, record):
        del record
        self._n_finished += 1
        if self._n_finished in self._moments:
            gc.collect()
            self.counts.append(sum(type(thing).__name__ == "Trial" for thing in gc.get_objects()))


def requests(n_trials, **payload):
    """Trials that start in the order of their numbers."""
    return [
        TrialRequest(f"t{n:03d}", {"trial_id": f"t{n:03d}", "number": n, **payload}, expected_cost=-n)
        for n in range(n_trials)
    ]


def test_the_driver_keeps_no_trial_that_has_ended(ray_session, tmp_path):
    """Two run, one waits, the last one to end is kept; seventy trials later there are as few."""

    def run(payload):
        return {"trial_id": payload["trial_id"], "status": "finished", "row": {}}

    census = Census(10, 80)
    outcome = run_trials(requests(82), run, folder=tmp_path, session=ray_session, listeners=[census])

    assert dict(outcome.statuses) == {"finished": 82}
    assert max(census.counts) <= 6


def test_a_trial_whose_worker_died_for_good_is_let_go_as_well(ray_session, tmp_path):
    """A given-up trial is in no place either, and one that is tried again is kept until it has ended."""

    def run(payload):
        import os
        from pathlib import Path

        marker = Path(payload["folder"]) / payload["trial_id"]
        if payload["number"] == 3 or (payload["number"] == 6 and not marker.exists()):
            marker.touch()
            os._exit(1)
        return {"trial_id": payload["trial_id"], "status": "finished", "row": {}}

    census = Census(18)
    marks = tmp_path / "marks"
    marks.mkdir()
    outcome = run_trials(
        requests(20, folder=str(marks)), run, folder=tmp_path / "records", session=ray_session, listeners=[census],
        max_retries=1,
    )  # fmt: skip

    assert dict(outcome.statuses) == {"finished": 19, "failed": 1}
    assert outcome.n_retries == 3
    assert census.counts[0] <= 6
