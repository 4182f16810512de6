"""Laws of scaling: fits, frontiers, comparisons and projections over a table of runs."""

from scaling.allocation import optimal_allocation
from scaling.bootstrap import Intervals, bootstrap
from scaling.calibrate import Calibration
from scaling.choice import Choice, bootstrap_choice, choose_law
from scaling.compare import Comparison, compare
from scaling.conventions import fit_conventions
from scaling.envelope import training_envelope
from scaling.fit import Fit, fit
from scaling.frontier import pareto_front
from scaling.holdout import backtest
from scaling.interval import Interval
from scaling.isoflop import isoflop_minima
from scaling.laws import LAWS, get_law
from scaling.profile import profile_likelihood
from scaling.projection import project
from scaling.quantile import quantile_frontier
from scaling.runs import check_runs, read_runs
from scaling.status import FitStatus
from scaling.synthetic import draw_runs

__all__ = [
    "LAWS",
    "Calibration",
    "Choice",
    "Comparison",
    "Fit",
    "FitStatus",
    "Interval",
    "Intervals",
    "backtest",
    "bootstrap",
    "bootstrap_choice",
    "check_runs",
    "choose_law",
    "compare",
    "draw_runs",
    "fit",
    "fit_conventions",
    "get_law",
    "isoflop_minima",
    "optimal_allocation",
    "pareto_front",
    "profile_likelihood",
    "project",
    "quantile_frontier",
    "read_runs",
    "training_envelope",
]
