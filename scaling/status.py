"""How a fit ended, in an enum whose values are sentences."""

from __future__ import annotations

from enum import Enum


class FitStatus(Enum):
    """How a fit ended. Only CONVERGED may be quoted."""

    CONVERGED = "converged"
    AT_BOUND = "a parameter stopped on its bound: the data do not determine it"
    NOT_IDENTIFIED = "several laws fit these runs equally well"
    TOO_FEW_RUNS = "fewer distinct budgets than parameters"
    NOT_CONVERGED = "the solver found no point where the loss is least"
