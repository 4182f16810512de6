"""What a sweep loses against the same trials in plain Python, and against Ray Tune as it comes.

Run: python benchmarks/sweep_overhead.py

Three ways through the same trials, one after another in one run, on as many workers:

1. plain: processes that call `run_trial` and write its record, dearest first, without Ray or MLflow;
2. the sweep: Ray Tune with reused processes, records kept by the driver, MLflow delivery;
3. Ray Tune as it comes: a new process per trial, its default loggers, the same trial function.

Start-up and shut-down (processes, imports, Ray, the MLflow store) are shown apart: the clock of each way runs
from the first trial that starts to the last record. What is lost per trial is worker time:
(wall - wall of plain) x workers / trials. On a machine whose speed drifts one such difference is mostly drift: the
order of the two ways turns from repeat to repeat, and the median over the repeats is what counts. The time between
trials, (wall x workers - the trials' own seconds) / trials, does not drift, and is given beside it.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from cluster.records import write_record
from experiments.machine import Machine
from experiments.plan import plan_trials
from experiments.spec import TrialSpec
from experiments.sweep import SweepSpec, parse_sweep

MACHINE = Machine(device="cpu", threads=1)


def make_sweep(n_trials: int, epochs: float) -> SweepSpec:
    """Trials of about a second on digits, the same for all three ways."""
    seeds = list(range(-(-n_trials // 6)))
    return parse_sweep(
        {
            "name": "overhead",
            "dataset": "digits",
            "family": "resnet",
            "grid": {"width": [4, 8], "depth": 1, "n_train": [200, 400, 800], "seed": seeds},
            "training": {"epochs": epochs, "base_width": 8},
        }
    )


def plain_worker(tasks: multiprocessing.Queue, ready: multiprocessing.Queue, folder: Path) -> None:
    """Run trials until told to end."""
    from experiments.trial import run_trial
    from experiments.workbench import open_dataset

    os.environ["OMP_NUM_THREADS"] = "1"
    warm_up()
    open_dataset("digits", None, None)
    ready.put("ready")
    while (task := tasks.get()) is not None:
        record = run_trial(TrialSpec.model_validate(task), MACHINE, sweep="overhead")
        write_record(folder, record)
        ready.put(record["row"]["wall_seconds"])


def warm_up() -> None:
    """One tiny trial, so that no way pays for first-time imports or for the node's energy meter."""
    from experiments.trial import run_trial

    spec = TrialSpec(dataset="digits", family="resnet", width=4, depth=1, n_train=32, epochs=1, base_width=8)
    assert run_trial(spec, MACHINE)["status"] == "finished"


def run_plain(specs: list[TrialSpec], folder: Path, workers: int) -> tuple[float, float, float]:
    """Return start-up and shut-down, wall time and the sum of the trials' own seconds."""
    context = multiprocessing.get_context("spawn")
    tasks, ready = context.Queue(), context.Queue()
    began = time.perf_counter()
    processes = [context.Process(target=plain_worker, args=(tasks, ready, folder)) for _ in range(workers)]
    for process in processes:
        process.start()
    for _ in processes:
        ready.get()
    started = time.perf_counter()
    for spec in specs:
        tasks.put(spec.model_dump(mode="json"))
    own = sum(ready.get() for _ in specs)
    wall = time.perf_counter() - started
    for _ in processes:
        tasks.put(None)
    for process in processes:
        process.join()
    return started - began, wall, own


class FirstStart:
    """When the first trial began, and what the trials took by their own clocks."""

    def __init__(self) -> None:
        self.at = 0.0
        self.last = 0.0
        self.own = 0.0

    def started(self, trial_id: str) -> None:
        del trial_id
        self.at = self.at or time.perf_counter()

    def finished(self, record: dict) -> None:
        self.last = time.perf_counter()
        self.own += record["row"]["wall_seconds"]

    def retried(self, trial_id: str, reason: str) -> None:
        raise AssertionError(f"{trial_id} was repeated: {reason}")


def run_swept(sweep: SweepSpec, folder: Path, workers: int) -> tuple[float, float, float]:
    """The sweep's own way, delivery to MLflow included."""
    from experiments.delivering import open_tracker
    from experiments.running import run_trials_of

    first = FirstStart()
    began = time.perf_counter()
    with open_tracker(sweep, folder, None) as tracker:
        run_trials_of(
            sweep, MACHINE, folder=folder / sweep.name, workers=workers, address=None, console=Console(quiet=True),
            quiet=True, listeners=[first, tracker],
        )  # fmt: skip
    ended = time.perf_counter()
    return first.at - began + ended - first.last, first.last - first.at, first.own


def tune_trial(config: dict, specs: list[dict]) -> dict:
    """A trial as a plain function of Ray Tune."""
    from experiments.trial import run_trial

    record = run_trial(TrialSpec.model_validate(specs[config["index"]]), MACHINE)
    return {"test_error": record["row"]["test_error"], "own": record["row"]["wall_seconds"]}


def run_tune(specs: list[TrialSpec], folder: Path, workers: int) -> tuple[float, float, float]:
    """Ray Tune with its defaults: a process per trial."""
    import ray
    from ray import tune

    began = time.perf_counter()
    ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
    started = time.perf_counter()
    contents = [spec.model_dump(mode="json") for spec in specs]
    tuner = tune.Tuner(
        tune.with_resources(functools.partial(tune_trial, specs=contents), {"cpu": 1}),
        param_space={"index": tune.grid_search(list(range(len(specs))))},
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    )
    results = tuner.fit()
    wall = time.perf_counter() - started
    own = sum(result.metrics["own"] for result in results)
    ray.shutdown()
    return started - began, wall, own


def main() -> None:
    """Time the three ways and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--without-tune", action="store_true", help="leave the third way out: it is slow")
    arguments = parser.parse_args()
    sweep = make_sweep(arguments.trials, arguments.epochs)
    warm_up()
    planned = sorted(plan_trials(sweep, MACHINE), key=lambda trial: -trial.seconds)
    specs = [trial.spec for trial in planned]
    print(f"{len(specs)} trials on {arguments.workers} workers")
    print(
        "| way | start-up, shut-down [s] | wall [s] | trials' own [s] | lost per trial [ms] | of a plain trial [%] "
        "| between trials [ms] |"
    )
    print("|---|---|---|---|---|---|---|")
    lost: dict[str, list[tuple[float, float]]] = {}
    for repeat in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            runners = {
                "plain": lambda folder=folder: run_plain(specs, folder / "plain", arguments.workers),
                "sweep": lambda folder=folder: run_swept(sweep, folder / "swept", arguments.workers),
                "Ray Tune as it comes": lambda folder=folder: run_tune(specs, folder / "tune", arguments.workers),
            }
            if arguments.without_tune or repeat > 0:  # it is slow, and its loss is no small difference
                del runners["Ray Tune as it comes"]
            order = sorted(runners, reverse=repeat % 2 == 1)
            ways = {name: runners[name]() for name in order}
        for name, (start, wall, own) in sorted(ways.items()):
            worker_seconds = wall * arguments.workers / len(specs)
            plain_seconds = ways["plain"][1] * arguments.workers / len(specs)
            lost.setdefault(name, []).append((worker_seconds - plain_seconds, plain_seconds))
            print(
                f"| {name} | {start:.1f} | {wall:.1f} | {own:.1f} | {1e3 * lost[name][-1][0]:.0f} | "
                f"{100 * lost[name][-1][0] / plain_seconds:.1f} | {1e3 * (worker_seconds - own / len(specs)):.0f} |",
                flush=True,
            )
    seconds, plain_seconds = np.median(lost["sweep"], axis=0)
    allowed = 0.05 * plain_seconds + 0.05
    print(
        f"the sweep loses {1e3 * seconds:.0f} ms a trial (median of {arguments.repeats}); "
        f"5% of a plain trial of {1e3 * plain_seconds:.0f} ms plus 50 ms are {1e3 * allowed:.0f} ms"
    )


if __name__ == "__main__":
    main()
