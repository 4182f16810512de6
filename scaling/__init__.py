"""Laws of scaling: fits, frontiers, comparisons and projections over a table of runs."""

from scaling.bootstrap import Intervals, bootstrap
from scaling.choice import Choice, bootstrap_choice, choose_law
from scaling.compare import Comparison, compare
from scaling.fit import Fit, fit
from scaling.frontier import pareto_front
from scaling.holdout import backtest
from scaling.interval import Interval
from scaling.laws import LAWS, get_law
from scaling.runs import check_runs, read_runs
from scaling.status import FitStatus
from scaling.synthetic import draw_runs

__all__ = [
    "LAWS",
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
    "get_law",
    "pareto_front",
    "read_runs",
]
