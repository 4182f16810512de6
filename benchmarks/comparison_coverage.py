"""How often the intervals of a comparison hold the truth, and how often no gain is called a gain.

Usage: python benchmarks/comparison_coverage.py [--draws 500] [--resamples 300] [--design NAME ...] [--law automatic]
       [--break-even 500] [--workers 2]
"""

from __future__ import annotations

import argparse
import functools
import math
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from scaling.compare import Arms, Bending, Charges, Gain, Payback, Setting, Verdict, draw_arms
from scaling.compare.break_even import fit_lifetimes, read_crossing
from scaling.compare.costs import charge
from scaling.compare.gain import measure_gain

Found = TypeVar("Found")
# Estimate, truth, and bounds by level.
Reading = tuple[float, float, dict[float, tuple[float, float]]]

LEVELS = (0.5, 0.8, 0.95)
BEND = 0.05
# The gain is also read this far from the middle of the runs, each arm with its own exponent.
DECADES_ASIDE = 1.5


def designs() -> dict[str, Arms]:
    """Known truth: every gain with and without a bend, then what could upset the method, without any gain."""
    plain = {
        f"gain {gain:g}" + (f", bend {bend:g}" if bend else ""): Arms(gain=gain, bend=bend)
        for bend in (0.0, BEND)
        for gain in (1.0, 1.5, 4.0)
    }
    return plain | {
        "levels off": Arms(gain=1.0, irreducible=0.02),
        "gain 1.5, levels off": Arms(gain=1.5, irreducible=0.02),
        "gain 4, levels off": Arms(gain=4.0, irreducible=0.02),
        "noise of cells": Arms(gain=1.0, cell_noise=0.04, seed_noise=0.04),
        "uneven noise": Arms(gain=1.0, uneven=0.7),
        "gain 1.5, bend 0.05, uneven noise": Arms(gain=1.5, bend=BEND, uneven=0.7),
        "dearer, larger models": Arms(gain=1.0, dearer=3.0, best_size=2.0),
        "small grid": Arms(gain=1.0, widths=(8, 32, 128), depths=(2,), n_trains=(100, 1600, 6400, 25600)),
        "one seed": Arms(gain=1.0, n_seeds=1),
    }


DEFAULT = [f"gain {gain}{bend}" for bend in ("", f", bend {BEND:g}") for gain in ("1", "1.5", "4")]


@dataclass
class Tally:
    """Errors of an estimate and how often its interval at each level held the truth."""

    errors: list[float] = field(default_factory=list)
    held: dict[float, list[bool]] = field(default_factory=dict)

    def add(self, estimate: float, truth: float, bounds: dict[float, tuple[float, float]]) -> None:
        """Count one draw."""
        self.errors.append(estimate - truth)
        for level, (low, high) in bounds.items():
            self.held.setdefault(level, []).append(low <= truth <= high)

    def row(self) -> str:
        """Bias in standard deviations, spread, and coverage in per cent."""
        if not self.errors:
            return "| | | | | |"
        spread = float(np.std(self.errors, ddof=1)) if len(self.errors) > 1 else math.nan
        shares = " | ".join(f"{100 * float(np.mean(self.held[level])):.1f}" for level in LEVELS)
        return f"| {float(np.mean(self.errors)) / spread:+.2f} | {spread:.3f} | {shares} |"


def spread_out(work: Callable[[int], Found], seeds: range, workers: int) -> Iterator[Found]:
    """What is found for each seed, in their order, by one process or several."""
    if workers == 1:
        yield from map(work, seeds)
        return
    with multiprocessing.Pool(workers) as pool:
        yield from pool.imap(work, seeds, chunksize=5)


def measure(
    arms: Arms, seeds: range, *, n_resamples: int, law: str = "automatic", workers: int = 1
) -> tuple[dict[str, Tally], dict[str, float]]:
    """Draw, compare, count."""
    tallies: dict[str, Tally] = {}
    verdicts, bendings = [], []
    for verdict, bending, rows in spread_out(functools.partial(_compare, arms, n_resamples, law), seeds, workers):
        verdicts.append(verdict)
        bendings.append(bending)
        for name, part in rows.items():
            tallies.setdefault(name, Tally()).add(*part)
    shares = {
        "called a gain": float(np.mean([verdict is Verdict.SHIFTS for verdict in verdicts])),
        "called a loss": float(np.mean([verdict is Verdict.COSTS_MORE for verdict in verdicts])),
        "called bent": float(np.mean([bending is Bending.BENDS for bending in bendings])),
        "called not bent": float(np.mean([bending is Bending.STRAIGHT for bending in bendings])),
        "refused": float(np.mean([verdict is Verdict.REFUSED for verdict in verdicts])),
    }
    return tallies, shares


def _compare(arms: Arms, n_resamples: int, law: str, seed: int) -> tuple[Verdict, Bending, dict[str, Reading]]:
    setting = Setting(n_resamples=n_resamples, seed=seed, law=law)
    found = measure_gain(draw_arms(arms, seed=seed), "baseline", "technique", "train_flops", setting)
    return found.verdict, found.bending, readings(found, arms)


def readings(found: Gain, arms: Arms) -> dict[str, Reading]:
    """Estimate, truth and bounds of every quantity of one comparison."""
    rows: dict[str, Reading] = {}
    if found.gain is None or found.shift_fit is None or found.bend_fit is None:
        return rows

    def log(value: float) -> float:
        return math.log(float(value))

    intervals = {level: found.gain_interval(level) for level in LEVELS}
    truth = log(arms.true_gain(np.array(found.gain.at_cost)))
    bounds = {level: (log(one.low), log(one.high)) for level, one in intervals.items()}
    rows["log gain"] = (log(found.gain.value), truth, bounds)
    bent = found.bend_fit
    if not bent.usable:
        return rows
    aside = DECADES_ASIDE * math.log(10)
    places = {
        f"{DECADES_ASIDE:g} decades below the middle": bent.centre - aside,
        f"{DECADES_ASIDE:g} decades above the middle": bent.centre + aside,
    }
    for name, read in zip(("least", "middle", "largest"), found.at_budgets, strict=True):
        places[f"at the {name} budget"] = log(read.at_cost or math.nan)
    for name, x in places.items():
        parts = {level: bent.log_gain_interval(x, level) for level in LEVELS}
        rows[f"log gain, {name}"] = (
            bent.log_gain(x), log(arms.true_gain(np.exp(x))),
            {level: (one.low, one.high) for level, one in parts.items()},
        )  # fmt: skip
    parts = {level: bent.parameter_interval("bend", level) for level in LEVELS}
    rows["bend"] = (bent.parameter("bend"), arms.bend, {level: (one.low, one.high) for level, one in parts.items()})
    return rows


def break_even_designs() -> dict[str, tuple[Arms, float]]:
    """Sweeps over one number of examples, and the number of uses from which, or up to which, the technique pays.

    Every cell has the same error in both arms, so the frontiers hold the same cells and the costs are equal at one
    number of uses for all of them: with training of 6 n_train and inference of 2 FLOP a weight, of the baseline, at
    ``3 n_train (dearer - 1) / (1 - 1 / lighter)``.
    """
    sizes = {"depths": (1, 2, 3, 4, 6), "n_trains": (1600,)}
    return {
        "pays from 18 n_train uses on": (Arms(gain=0.25, dearer=4.0, best_size=0.5, lighter=2.0, **sizes), 18 * 1600),
        "pays up to 2.25 n_train uses": (Arms(gain=4.0, dearer=0.25, best_size=2.0, lighter=0.5, **sizes), 2.25 * 1600),
    }


def measure_break_even(name: str, n_draws: int, n_resamples: int, workers: int) -> str:
    """A row of the table: how often the bounds of the number of uses held the truth."""
    arms, truth = break_even_designs()[name]
    tally, n_found = Tally(), 0
    wanted = Payback.FROM if "from" in name else Payback.UP_TO
    for read in spread_out(functools.partial(_pay_back, arms, n_resamples), range(n_draws), workers):
        payback, uses, _, _ = read[max(LEVELS)]
        if payback is not wanted or not uses or math.isinf(uses):
            continue
        n_found += 1
        tally.add(
            math.log(uses), math.log(truth), {level: _logs(low, high) for level, (_, _, low, high) in read.items()}
        )
    return f"| {name}, found in {n_found} of {n_draws} | log uses {tally.row()}"


def _pay_back(arms: Arms, n_resamples: int, seed: int) -> dict[float, tuple[Payback, float | None, float, float]]:
    charged = charge(draw_arms(arms, seed=seed), Charges()).table
    lifetimes = fit_lifetimes(charged, "baseline", "technique", Setting(n_resamples=n_resamples, seed=seed))
    return {level: read_crossing(lifetimes.curve(level)) for level in LEVELS}


def _logs(low: float, high: float) -> tuple[float, float]:
    return (math.log(low) if low > 0 else -math.inf), math.log(high)


def main() -> None:
    """Print two Markdown tables: coverage, and verdicts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=300)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--law", default="automatic", help="of the fits: automatic, power or saturating")
    parser.add_argument("--design", nargs="*", default=DEFAULT, help=f"{', '.join(designs())}, or all")
    parser.add_argument("--break-even", type=int, default=0, metavar="DRAWS", help="draws of the break-even too")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    given = parser.parse_args()
    seeds = range(given.first_seed, given.first_seed + given.draws)
    names = list(designs()) if given.design == ["all"] else given.design
    began, verdicts = time.perf_counter(), []
    print("| design | quantity | bias / spread | spread | 50% | 80% | 95% |\n|---|---|---|---|---|---|---|")
    for name in names:
        tallies, shares = measure(
            designs()[name], seeds, n_resamples=given.resamples, law=given.law, workers=given.workers
        )
        for quantity, tally in tallies.items():
            print(f"| {name} | {quantity} {tally.row()}", flush=True)
        verdicts.append(f"| {name} | " + " | ".join(f"{100 * share:.1f}%" for share in shares.values()) + " |")
    if given.break_even:
        for name in break_even_designs():
            print(measure_break_even(name, given.break_even, given.resamples, given.workers), flush=True)
    print(f"\n| design | {' | '.join(shares)} |\n|---|---|---|---|---|---|\n" + "\n".join(verdicts))
    whose = resource.RUSAGE_SELF if given.workers == 1 else resource.RUSAGE_CHILDREN
    memory = resource.getrusage(whose).ru_maxrss / 2**20
    seconds = time.perf_counter() - began
    print(f"\n{given.draws} draws a design, {seconds:.0f} s in {given.workers} processes, {memory:.2f} GiB each")


if __name__ == "__main__":
    main()
