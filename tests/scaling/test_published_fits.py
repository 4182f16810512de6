"""Published data, in the folder NINTHPOWER_PUBLISHED_DATA names: answers at least as good as the published ones."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from scaling import choose_law, fit
from scaling.laws import LAWS
from scaling.solver import huber

VARIABLE = "NINTHPOWER_PUBLISHED_DATA"
FILES = ("chinchilla_sim_234.csv", "learning_curves_language.csv")
GIVEN = os.environ.get(VARIABLE, "")
# An unset variable is no folder; a folder that lacks a file is a mistake, and the tests then fail on it.
FOLDER = Path(GIVEN)
pytestmark = [
    pytest.mark.optional,
    pytest.mark.skipif(not GIVEN, reason=f"{VARIABLE} names no folder with {' and '.join(FILES)}"),
]
# Mean log RMSE per domain of M4, the best published estimator (Alabdulmohsin et al. 2022, table 2).
PUBLISHED_M4 = {"NMT": 0.0208, "LM": 0.0009, "BB": 0.0123}


@pytest.fixture(scope="module")
def language_runs():
    """The fits' halves of 20 learning curves and the halves to predict."""
    table = pd.read_csv(FOLDER / "learning_curves_language.csv").drop_duplicates()
    return table.rename(columns={"Seen Examples": "seen", "Loss": "loss"})


@pytest.mark.slow
def test_law_chosen_from_the_runs_extrapolates_better_than_m4(language_runs):
    """No option is set per task; the law is chosen on the half to fit alone."""
    errors = {domain: [] for domain in PUBLISHED_M4}
    for (domain, _, _), task in language_runs.groupby(["Domain", "Task", "Model"]):
        known, later = task[task["Training"] == 1], task[task["Training"] == 0]
        choice = choose_law(known[["seen", "loss"]], cost="seen", error="loss")
        ratio = np.log(choice.fit.predict(later["seen"].to_numpy()) / later["loss"].to_numpy())
        errors[domain].append(np.sqrt(np.mean(ratio**2)))

    for domain, published in PUBLISHED_M4.items():
        assert np.mean(errors[domain]) <= published


def test_surface_of_234_language_models_is_near_the_published_one():
    """The published parameters come from another loss, and so differ by more than their errors; the curves are near."""
    runs = pd.read_csv(FOLDER / "chinchilla_sim_234.csv")
    published = {"E": 1.7002, "A": 184.69, "alpha": 0.2890, "B": 1633.5, "beta": 0.3558}

    result = fit(runs, "size_and_data", error="loss", columns={"size": "N", "data": "D"})

    assert result.converged
    assert result.n_starts_agreeing >= 20
    theirs = LAWS["size_and_data"].predict(published, runs["N"], runs["D"])
    assert np.median(np.abs(np.log(theirs / result.predict(runs["N"], runs["D"])))) < 0.01


def test_no_start_of_scipy_finds_a_lower_loss():
    """A grid of L-BFGS-B starts on the very same objective; the benchmark does it with all 4,500."""
    runs = pd.read_csv(FOLDER / "chinchilla_sim_234.csv")
    result = fit(runs, "size_and_data", error="loss", columns={"size": "N", "data": "D"})
    problem, law = result.optimum.problem, LAWS["size_and_data"]

    def loss(theta):
        prediction, jacobian = law.evaluate_with_jacobian(theta[None], problem.x)
        residual = (prediction[0] - problem.y) / problem.sigma
        slope = np.clip(residual, -problem.threshold, problem.threshold) / problem.sigma
        return huber(residual, problem.threshold).sum(), jacobian[0] @ slope

    rng = np.random.default_rng(0)
    low, high = np.array([0.1, -3.0, 0.05, -3.0, 0.05]), np.array([2.0, 1.0, 1.5, 1.0, 1.5])
    bounds = [(0, None), (None, None), (0, 20), (None, None), (0, 20)]
    with np.errstate(all="ignore"):
        best = min(
            minimize(loss, rng.uniform(low, high), jac=True, method="L-BFGS-B", bounds=bounds).fun for _ in range(40)
        )

    assert result.objective <= best * (1 + 1e-9)
