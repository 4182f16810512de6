"""Speed of the project itself, every night: short forms of three benchmarks, as ratios with limits and a history.

Run: OMP_NUM_THREADS=1 python benchmarks/nightly_speed.py [--nights results/nights] [--tracking-uri URI] [--name NAME]

Every ratio is the time of what one would use instead over ours, both timed in turn in the same run: above 1 ours is
faster. The limits are typed below, here and nowhere else. The ratios of every night are kept in MLflow (experiment
`nightly-speed`), and a night is compared with the median of those before as well.

Exit codes: 0 every ratio keeps to its limit; 1 one does not, named; 2 the night cannot be judged. To the summary of a
GitHub step, and to NIGHTS/NAME/speed.md, is written what is printed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import fit_speed
import sweep_overhead
import torch
import training_throughput

from cluster.night_log import log_night, read_nights
from experiments.device import processor_name
from experiments.night_outputs import add_to_step_summary
from experiments.trial import environment
from scaling import bootstrap, fit
from scaling.guard.speed import Limit, judge_speed, speed_markdown

EXPERIMENT = "nightly-speed"
PREFIX = "ratio/"
SUMMARY_FILE = "speed.md"
SWEEP_ALONE = "--measure-the-sweep"
NIGHTS = Path("results") / "nights"
FAMILIES = ("mlp", "resnet", "convnext", "vit", "mixer")

# About two thirds of what a quiet machine and a busy one had in the median; docs/nightly.md has the numbers.
LIMITS = {
    "fit": Limit("100 starts of scipy's L-BFGS-B over our whole fit of 240 runs", at_least=20.0),
    "bootstrap": Limit("as many one-start scipy least_squares as resamples, over our bootstrap", at_least=12.0),
    "sweep": Limit("plain processes over the sweep on Ray, from the first trial to the last record", at_least=0.4),
    **{
        f"train-{family}": Limit(f"a bare PyTorch loop over our training of a small {family}", at_least=0.75)
        for family in FAMILIES
    },
}


def fit_ratios(starts: int = 100, resamples: int = 400) -> dict[str, float]:
    """Our fit and bootstrap against scipy, from the same 240 runs."""
    runs = fit_speed.runs_240()
    settings = {"law": fit_speed.LAW, "error": "test_loss"}
    ours_seconds, ours = fit_speed.timed(lambda: fit(runs, **settings), repeats=10)
    multistart, _ = fit_speed.timed(lambda: fit_speed.scipy_multistart(ours, starts), repeats=2)
    one_start, _ = fit_speed.timed(lambda: fit_speed.scipy_least_squares(ours), repeats=5)
    resampled, _ = fit_speed.timed(lambda: bootstrap(runs, n_resamples=resamples, **settings), repeats=2)
    return {"fit": multistart * 100 / starts / ours_seconds, "bootstrap": one_start * resamples / resampled}


def training_ratios(repeats: int = 5, seconds: float = 0.3) -> dict[str, float]:
    """Our training loop against a bare one, for the small case of every family."""
    found = {}
    for case in training_throughput.CASES:
        if case.size != "small":
            continue
        training_throughput.time_ours(case, 5)
        n_steps = max(10, round(10 * seconds / training_throughput.time_bare(case, 10)))
        pairs = [
            (training_throughput.time_bare(case, n_steps), training_throughput.time_ours(case, n_steps))
            for _ in range(repeats)
        ]
        found[f"train-{case.family}"] = statistics.median(bare / ours for bare, ours in pairs)
    return found


def sweep_ratios(n_trials: int = 24, epochs: float = 8, repeats: int = 2) -> dict[str, float]:
    """The sweep against plain processes, each first once."""
    workers = os.cpu_count() or 1
    sweep = sweep_overhead.make_sweep(n_trials, epochs)
    sweep_overhead.warm_up()
    ratios = []
    for repeat in range(repeats):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            ways = {
                "plain": lambda folder=folder: sweep_overhead.run_plain(sweep.trials(), folder / "plain", workers),
                "sweep": lambda folder=folder: sweep_overhead.run_swept(sweep, folder / "swept", workers),
            }
            walls = {name: ways[name]()[1] for name in sorted(ways, reverse=repeat % 2 == 1)}
        ratios.append(walls["plain"] / walls["sweep"])
    return {"sweep": statistics.median(ratios)}


def sweep_ratios_apart() -> dict[str, float]:
    """The same in a process of its own: when Ray ends the process that drives it, the night still has its verdict.

    Raises:
        ValueError: If that process failed; its last words are in the message.
    """
    done = subprocess.run([sys.executable, __file__, SWEEP_ALONE], capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout.strip():
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise ValueError(f"the benchmark of the sweep ended with code {done.returncode} and said: {said}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


MEASURES = (fit_ratios, training_ratios, sweep_ratios_apart)


def history(uri: str, name: str) -> list[dict[str, float]]:
    """Ratios of the nights before, oldest first; tonight's own, if it is judged again, are not among them."""
    return [
        {key.removeprefix(PREFIX): value for key, value in metrics.items() if key.startswith(PREFIX)}
        for params, metrics in read_nights(uri, EXPERIMENT)
        if params.get("night") != name
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, compare, keep, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=Path, default=NIGHTS, help="folder whose MLflow store keeps the history")
    parser.add_argument("--tracking-uri", help="MLflow server that keeps the history instead")
    parser.add_argument("--name", help="name of the night; by default its date and time, UTC")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    options = parser.parse_args(arguments)
    now = datetime.datetime.now(datetime.UTC)
    name = options.name or now.strftime("%Y%m%d-%H%M%S")
    root = options.nights.absolute()
    root.mkdir(parents=True, exist_ok=True)
    uri = options.tracking_uri or f"sqlite:///{root / 'mlflow.db'}"
    torch.set_num_threads(1)
    try:
        before = history(uri, name)
        ratios = {key: ratio for measure in MEASURES for key, ratio in measure().items()}
        findings = judge_speed(ratios, LIMITS, before)
    except (ValueError, OSError) as error:
        print(f"the speed of this night cannot be judged: {error}", file=sys.stderr)
        add_to_step_summary(f"## Speed of the project itself: no verdict\n\n{error}")
        return 2
    text = speed_markdown(findings)
    failures = [words for finding in findings for words in finding.failures]
    params = {
        "ended_at": now.isoformat(timespec="milliseconds"), "processor": processor_name(),
        "git_commit": environment(sweep_overhead.MACHINE)["git_commit"] or "unknown",
    }  # fmt: skip
    problem = log_night(
        uri, EXPERIMENT, name, params=params, description=text,
        metrics={**{PREFIX + key: ratio for key, ratio in ratios.items()}, "failures": float(len(failures))},
        artifact_root=None if options.tracking_uri else (root / "mlartifacts").as_uri(),
    )  # fmt: skip
    (root / name).mkdir(exist_ok=True)
    (root / name / SUMMARY_FILE).write_text(text, encoding="utf-8")
    add_to_step_summary(text)
    print(json.dumps({"name": name, "ratios": ratios, "failures": failures}, indent=1) if options.json else text)
    if problem:
        print(problem, file=sys.stderr)
        return 2
    return 1 if failures else 0


if __name__ == "__main__":
    if sys.argv[1:] == [SWEEP_ALONE]:
        print(json.dumps(sweep_ratios()), flush=True)
    else:
        sys.exit(main())
