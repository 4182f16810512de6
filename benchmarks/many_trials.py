"""What ten thousand short trials cost through Ray Tune, and whether the last thousand costs more than the first.

Run: python benchmarks/many_trials.py    # some minutes; --trials 2000 for a look

One line per thousand trials: wall time, and resident memory of the driver and of all that it started (Ray's head,
the keeper, the workers). Then the fit and the report of all of them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from cluster.session import connect
from cluster.tuning import TrialRequest, run_trials

MEBIBYTE = 2**20


def make_trial(seconds: float) -> Any:
    """A trial that sleeps and returns a row on a known law: error = 3 C^-0.2, 5% noise."""

    def run(payload: dict[str, Any]) -> dict[str, Any]:
        import random
        import time

        time.sleep(seconds)
        draw = random.Random(payload["seed"])
        flops = 10.0 ** (8 + 0.25 * (payload["number"] % 20))
        row = {
            "trial_id": payload["trial_id"], "status": "finished", "dataset": "synthetic", "family": "none",
            "technique": "baseline", "width": payload["number"] % 20 + 1, "depth": 1, "n_train": 1000, "epochs": 1,
            "seed": payload["seed"], "n_params": 100, "train_flops": flops,
            "test_error": 3 * flops**-0.2 * draw.lognormvariate(0, 0.05),
        }  # fmt: skip
        return {"trial_id": payload["trial_id"], "status": "finished", "row": row}

    return run


class Meter:
    """A listener that weighs the processes at every thousandth record."""

    def __init__(self, each: int) -> None:
        self._each = each
        self._n = 0
        self._began = time.perf_counter()
        self.lines: list[tuple[int, float, float, float]] = []

    def started(self, trial_id: str) -> None:
        if not self._n and trial_id:
            self._began = time.perf_counter() if not self.lines else self._began

    def retried(self, trial_id: str, reason: str) -> None:
        raise AssertionError(f"{trial_id} was repeated: {reason}")

    def finished(self, record: dict[str, Any]) -> None:
        del record
        self._n += 1
        if self._n % self._each:
            return
        now = time.perf_counter()
        own, all_of_them = weigh()
        self.lines.append((self._n, now - self._began, own, all_of_them))
        print(f"| {self._n} | {now - self._began:.1f} | {own:.0f} | {all_of_them:.0f} |", flush=True)
        self._began = now


def weigh() -> tuple[float, float]:
    """Resident memory of this process, and of it with all its descendants [MiB]."""
    own = psutil.Process()
    total = own.memory_info().rss
    for child in own.children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return own.memory_info().rss / MEBIBYTE, total / MEBIBYTE


def report(rows: pd.DataFrame, folder: Path) -> None:
    """Fit and report all trials."""
    from experiments.fitting import fit_runs

    path = folder / "runs.csv"
    rows.to_csv(path, index=False)
    began = time.perf_counter()
    found = fit_runs(path, laws=["power"])
    seconds, size = time.perf_counter() - began, (found.folder / "report.html").stat().st_size
    print(f"fit and report of {len(rows)} runs: {seconds:.1f} s, a page of {size / MEBIBYTE:.1f} MiB")
    print(found.analysis.sentences[0])


def main() -> None:
    """Run the trials and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.0, help="length of a trial")
    arguments = parser.parse_args()
    each = max(1, arguments.trials // 10)
    ids = [f"t{number:06d}" for number in range(arguments.trials)]
    requests = [
        TrialRequest(trial_id, {"trial_id": trial_id, "number": number, "seed": number // 20}, expected_cost=-number)
        for number, trial_id in enumerate(ids)
    ]
    with tempfile.TemporaryDirectory() as scratch, connect(None, cpus=arguments.workers) as session:
        print("| trials | seconds for these | driver [MiB] | all processes [MiB] |\n|---|---|---|---|")
        meter = Meter(each)
        began = time.perf_counter()
        outcome = run_trials(
            requests, make_trial(arguments.seconds), folder=Path(scratch) / "trials", session=session, listeners=[meter]
        )
        wall = time.perf_counter() - began
        print(f"{outcome.sentence('again')} in {wall:.0f} s, {1e3 * wall / len(ids):.1f} ms each")
        # The first part holds the start of the workers; the second is the first without.
        first, last = meter.lines[1], meter.lines[-1]
        for name, place in (("time", 1), ("driver's memory", 2), ("all memory", 3)):
            print(f"{name} from the second to the last tenth: {100 * (last[place] / first[place] - 1):+.1f}%")
        began = time.perf_counter()
        from cluster.records import read_records

        rows = pd.DataFrame([record["row"] for record in read_records(Path(scratch) / "trials")])
        print(f"{len(rows)} records read in {time.perf_counter() - began:.1f} s")
        assert np.isfinite(rows["test_error"]).all()
        report(rows, Path(scratch))


if __name__ == "__main__":
    main()
