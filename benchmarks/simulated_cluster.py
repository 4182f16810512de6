"""How near a cluster of a hundred nodes comes to the ideal makespan.

Run: python benchmarks/simulated_cluster.py    # 25 minutes, 10 GiB; --nodes 20 --trials 400 for a look

A node is a logical core of one private Ray: a trial sleeps for a length that is known beforehand, so that two real
cores carry a hundred. Lengths are lognormal, as those of a grid over width and data are. The ideal is the larger of
the sum over the nodes and the longest trial: nothing can be faster. Start-up (a hundred worker processes on two real
cores, which a real cluster starts each on its own) is shown apart.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from cluster.session import connect
from cluster.tuning import TrialRequest, run_trials


def sleep_trial(payload: dict[str, Any]) -> dict[str, Any]:
    """Sleep for as long as was announced."""
    import time

    time.sleep(payload["seconds"])
    return {"trial_id": payload["trial_id"], "status": "finished", "row": {"seconds": payload["seconds"]}}


class Clock:
    """A listener that notes the first start and the last end."""

    def __init__(self, n_nodes: int) -> None:
        self._n_nodes = n_nodes
        self._running = 0
        self.first = self.full = self.last = 0.0

    def started(self, trial_id: str) -> None:
        del trial_id
        now = time.perf_counter()
        self.first = self.first or now
        self._running += 1
        if self._running == self._n_nodes:
            self.full = self.full or now

    def finished(self, record: dict[str, Any]) -> None:
        del record
        self._running -= 1
        self.last = time.perf_counter()

    def retried(self, trial_id: str, reason: str) -> None:
        raise AssertionError(f"{trial_id} was repeated: {reason}")


def main() -> None:
    """Run the trials and print the makespan beside the ideal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--mean-seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    draws = np.random.default_rng(0).lognormal(0.0, 0.7, arguments.trials)
    lengths = draws / draws.mean() * arguments.mean_seconds
    requests = [
        TrialRequest(f"t{number:05d}", {"trial_id": f"t{number:05d}", "seconds": float(length)}, float(length))
        for number, length in enumerate(lengths)
    ]
    ideal = max(lengths.sum() / arguments.nodes, lengths.max())
    clock = Clock(arguments.nodes)
    with tempfile.TemporaryDirectory() as scratch, connect(None, cpus=arguments.nodes) as session:
        began = time.perf_counter()
        run_trials(requests, sleep_trial, folder=Path(scratch), session=session, listeners=[clock])
    from_first, whole = clock.last - clock.first, clock.last - began
    print(f"{arguments.trials} trials on {arguments.nodes} nodes, ideal {ideal:.0f} s")
    print(
        f"from the first trial's start to the last record: {from_first:.0f} s, {100 * (from_first / ideal - 1):+.1f}%"
    )
    print(f"with the start of Tune and the first worker: {whole:.0f} s, {100 * (whole / ideal - 1):+.1f}%")
    print(f"all nodes were busy {clock.full - clock.first:.0f} s after the first trial had started")


if __name__ == "__main__":
    main()
