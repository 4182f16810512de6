"""Laws of scaling: fits, frontiers, comparisons and projections over a table of runs."""

from scaling.bootstrap import Interval, Intervals, bootstrap
from scaling.fit import Fit, fit
from scaling.frontier import pareto_front
from scaling.holdout import backtest
from scaling.laws import LAWS, get_law
from scaling.runs import check_runs, read_runs
from scaling.status import FitStatus

__all__ = [
    "LAWS",
    "Fit",
    "FitStatus",
    "Interval",
    "Intervals",
    "backtest",
    "bootstrap",
    "check_runs",
    "fit",
    "get_law",
    "pareto_front",
    "read_runs",
]
