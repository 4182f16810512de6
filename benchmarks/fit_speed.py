"""Speed of the fits, side by side with what a user would reach for, in one run on one core.

Every contender minimises the same objective (Huber in log error, the same scale and threshold) of
``E + A/N^alpha + B/D^beta`` on the same 240 runs, except the package chinchilla, which has its own.
lmfit and chinchilla are timed if they are installed.

Usage: OMP_NUM_THREADS=1 python benchmarks/fit_speed.py [--starts 4500] [--table RUNS.csv]
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import least_squares, minimize

from scaling import Fit, bootstrap, draw_runs, fit
from scaling.laws import LAWS
from scaling.pareto import pareto_positions
from scaling.solver import huber

LAW = LAWS["size_and_data"]
TRUTH = {"E": 0.5, "A": 200.0, "alpha": 0.4, "B": 300.0, "beta": 0.35}
# The grid of Hoffmann et al. 2022, appendix D.3 (their alpha, beta, e, a, b), as offsets of the logs.
GRID = {
    "alpha": np.arange(0, 2.5, 0.5), "beta": np.arange(0, 2.5, 0.5), "e": np.arange(-1, 1.5, 0.5),
    "a": np.arange(0, 30, 5), "b": np.arange(0, 30, 5),
}  # fmt: skip


def runs_240() -> pd.DataFrame:
    """80 cells of three seeds with 3% noise."""
    rng = np.random.default_rng(0)
    inputs = {"size": np.round(10 ** rng.uniform(5, 8, 80)), "data": np.round(10 ** rng.uniform(6, 9, 80))}
    return draw_runs(LAW, TRUTH, inputs, seed_noise=0.03, error="test_loss")


def timed(action: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """Least wall time of several calls, and the last result."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        result = action()
        times.append(time.perf_counter() - begin)
    return min(times), result


def objective_of(result: Fit) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """The objective of a fit and its gradient, for a single vector of coordinates."""
    optimum = result.optimum
    assert optimum is not None
    problem = optimum.problem

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        prediction, jacobian = LAW.evaluate_with_jacobian(theta[None], problem.x)
        residual = (prediction[0] - problem.y) / problem.sigma
        slope = np.clip(residual, -problem.threshold, problem.threshold) / problem.sigma
        return float(huber(residual, problem.threshold).sum()), jacobian[0] @ slope

    return loss


def grid_starts(result: Fit, n_starts: int) -> np.ndarray:
    """The published grid in this program's coordinates (inputs centred), thinned to a number of starts."""
    optimum = result.optimum
    assert optimum is not None
    rows = []
    for alpha, beta, e, a, b in itertools.product(*(GRID[name] for name in ("alpha", "beta", "e", "a", "b"))):
        rows.append([np.exp(e), a - alpha * optimum.centre[0], alpha, b - beta * optimum.centre[1], beta])
    starts = np.array(rows)
    return starts[np.linspace(0, len(starts) - 1, min(n_starts, len(starts))).round().astype(int)]


def scipy_multistart(result: Fit, n_starts: int) -> tuple[float, int]:
    """Least objective of L-BFGS-B from the grid, with the analytic gradient, and how many starts reached it."""
    loss = objective_of(result)
    bounds = [(0, None), (None, None), (0, 20), (None, None), (0, 20)]
    values = []
    with np.errstate(all="ignore"):
        for start in grid_starts(result, n_starts):
            found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 1000})
            values.append(found.fun)
    finite = np.array([value for value in values if np.isfinite(value)])
    return float(finite.min()), int((finite < finite.min() * (1 + 1e-5)).sum())


def scipy_least_squares(result: Fit) -> float:
    """scipy's own robust solver from the fit's neighbourhood: one start."""
    optimum = result.optimum
    assert optimum is not None
    problem = optimum.problem
    found = least_squares(
        lambda theta: (LAW.evaluate(theta[None], problem.x)[0] - problem.y) / problem.sigma,
        np.array([0.3, -1.0, 0.3, -1.0, 0.3]), bounds=([0, -50, 0, -50, 0], np.inf),
        loss="huber", f_scale=problem.threshold, xtol=1e-10, ftol=1e-10, gtol=1e-10,
    )  # fmt: skip
    return float(found.cost)


def lmfit_fit(runs: pd.DataFrame) -> float:
    """lmfit on log errors, plain least squares: it has no Huber loss of its own with scaled residuals."""
    import lmfit

    size, data = runs["n_params"].to_numpy(float), runs["n_train"].to_numpy(float)
    y = np.log(runs["test_loss"].to_numpy(float))
    parameters = lmfit.create_params(
        E={"value": 0.3, "min": 0}, a=5.0, alpha={"value": 0.3, "min": 0}, b=5.0, beta={"value": 0.3, "min": 0}
    )

    def residual(p: Any) -> np.ndarray:
        v = p.valuesdict()
        return np.log(v["E"] + np.exp(v["a"]) * size ** -v["alpha"] + np.exp(v["b"]) * data ** -v["beta"]) - y

    return float(lmfit.minimize(residual, parameters).chisqr)


def chinchilla_fit(runs: pd.DataFrame) -> Any:
    """The package chinchilla from PyPI on a grid of 32 starts, a small part of its usual one."""
    from chinchilla import Chinchilla

    with tempfile.TemporaryDirectory() as folder:
        table = pd.DataFrame({
            "C": 6.0 * runs["n_params"] * runs["n_train"], "N": runs["n_params"], "D": runs["n_train"],
            "loss": runs["test_loss"],
        })  # fmt: skip
        table.to_csv(Path(folder) / "df.csv", index=False)
        grid = {
            "E": np.array([0.2, 1.0]), "A": np.array([10.0, 500.0]), "B": np.array([10.0, 500.0]),
            "alpha": np.array([0.2, 0.6]), "beta": np.array([0.2, 0.6]),
        }  # fmt: skip
        model = Chinchilla(folder, param_grid=grid, seed_ranges={"C": (1e12, 1e17), "N_to_D": (1e-3, 1e1)})
        model.fit(parallel=False)
        return model.get_params()


def row(name: str, seconds: float, note: str) -> None:
    """One line of the Markdown table."""
    shown = f"{1000 * seconds:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
    print(f"| {name} | {shown} | {note} |", flush=True)


def optional(name: str, package: str, action: Callable[[], Any]) -> None:
    """Time a contender if it is installed; a failure of its own is a line, not the end."""
    if importlib.util.find_spec(package) is None:
        print(f"| {name} | not installed | pip install {package} |")
        return
    try:
        seconds, value = timed(action)
    except (ImportError, TypeError, ValueError, RuntimeError, AttributeError, KeyError, OSError) as problem:
        print(f"| {name} | failed | {type(problem).__name__}: {str(problem)[:80]} |")
        return
    row(name, seconds, f"{value}"[:100])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=4500)
    parser.add_argument("--resamples", type=int, default=4000)
    parser.add_argument("--peers", action="store_true", help="time the slower package chinchilla too")
    parser.add_argument("--table", type=Path, help="csv with N, D and loss instead of the synthetic runs")
    options = parser.parse_args()
    print(f"<!-- {platform.processor() or platform.machine()}, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS')} -->")
    runs = runs_240()
    if options.table is not None:
        named = {"N": "n_params", "D": "n_train", "loss": "test_loss"}
        runs = (
            pd.read_csv(options.table).rename(columns=named)[list(named.values())].round({"n_params": 0, "n_train": 0})
        )
    print(f"| {len(runs)} runs, E + A/N^alpha + B/D^beta | time | result |\n|---|---|---|")
    settings: dict[str, Any] = {"law": LAW, "error": "test_loss"}
    seconds, ours = timed(lambda: fit(runs, **settings), repeats=30)
    note = f"objective {ours.objective:.8f}, {ours.n_starts_agreeing} of {ours.n_starts} starts agree"
    row("ninthpower fit, from the table to the verdict", seconds, note)
    seconds, value = timed(lambda: scipy_least_squares(ours), repeats=3)
    row("scipy least_squares, Huber, one start", seconds, f"objective {value:.8f}")
    optional("lmfit, least squares, one start", "lmfit", lambda: lmfit_fit(runs))
    seconds, (value, reached) = timed(lambda: scipy_multistart(ours, options.starts))
    row(f"scipy L-BFGS-B, {options.starts} starts", seconds, f"objective {value:.8f}, {reached} reached it")
    if options.peers:
        optional("chinchilla (PyPI), 32 grid starts and its fit", "chinchilla", lambda: chinchilla_fit(runs))
    seconds, intervals = timed(lambda: bootstrap(runs, n_resamples=options.resamples, **settings), repeats=2)
    row(f"ninthpower, {options.resamples} cluster-bootstrap Huber refits", seconds, f"{intervals.n_failed} failed")
    many = draw_runs("saturating", {"E": 0.02, "A": 90.0, "alpha": 0.25}, {"cost": np.geomspace(1e9, 1e13, 33_334)})
    seconds, large = timed(lambda: fit(many, "saturating"), repeats=3)
    row("ninthpower, 100,002 runs, saturating", seconds, large.status.name.lower())
    cost, error = np.random.default_rng(0).random((2, 1_000_000))
    seconds, front = timed(lambda: pareto_positions(cost, error), repeats=3)
    row("Pareto front of 1,000,000 points", seconds, f"{front.size} on the front")
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
