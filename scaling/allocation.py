"""How to split a compute budget between size and data, and the frontier that a surface implies."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def optimal_allocation(
    parameters: Mapping[str, float], flops: ArrayLike, *, flops_per_param_example: float
) -> tuple[Array, Array]:
    """Split a compute budget between model size and data so that the predicted error is least.

    Minimises ``A size^-alpha + B data^-beta`` subject to ``k size data == flops``, in closed form. It holds for
    every law that is an increasing function of that sum (`size_and_data`, `rosenfeld`).

    Args:
        parameters: ``A``, ``alpha``, ``B``, ``beta`` of a fitted surface, all positive.
        flops: Training compute, scalar or shape (m,) [FLOP].
        flops_per_param_example: k, compute per parameter and example [FLOP]. It has no default: 6 for a dense
            layer applied once per example, more where patches share the weights, times the epochs.

    Returns:
        ``(n_params, n_examples)``, each shaped like `flops`, not rounded.

    Raises:
        ValueError: If k, a budget, or a parameter is not positive and finite.

    Source:
        Hoffmann et al. 2022 (arXiv:2203.15556) eq. 4, with its 6 replaced by k.
    """
    a, alpha, b, beta = _positive(parameters)
    budget = _budget(flops, flops_per_param_example)
    log_scale = (np.log(alpha * a) - np.log(beta * b)) / (alpha + beta)
    size = np.exp(log_scale + beta / (alpha + beta) * np.log(budget))
    return size, budget / size


def optimal_frontier(parameters: Mapping[str, float], *, flops_per_param_example: float) -> dict[str, float]:
    """The frontier ``E + A cost^-alpha`` along which a surface is best, as parameters of the law `saturating`.

    Raises:
        ValueError: If k or a parameter is not positive and finite.
    """
    a, alpha, b, beta = _positive(parameters)
    size, data = optimal_allocation(
        parameters, flops_per_param_example, flops_per_param_example=flops_per_param_example
    )
    exponent = alpha * beta / (alpha + beta)
    reducible = float(a * size**-alpha + b * data**-beta)
    return {
        "E": parameters.get("E", 0.0),
        "A": reducible * flops_per_param_example**exponent,
        "alpha": exponent,
    }


def _positive(parameters: Mapping[str, float]) -> tuple[float, float, float, float]:
    values = []
    for name in ("A", "alpha", "B", "beta"):
        if name not in parameters:
            raise ValueError(f"an allocation needs A, alpha, B and beta of a law in size and data; {name} is missing")
        value = float(parameters[name])
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}, but an allocation needs it positive and finite")
        values.append(value)
    a, alpha, b, beta = values
    return a, alpha, b, beta


def _budget(flops: ArrayLike, flops_per_param_example: float) -> Array:
    if not (np.isfinite(flops_per_param_example) and flops_per_param_example > 0):
        raise ValueError(f"flops_per_param_example is {flops_per_param_example}, but it is positive and finite")
    budget = np.asarray(flops, dtype=np.float64)
    if not np.all((budget > 0) & np.isfinite(budget)):
        raise ValueError("flops holds a budget that is not positive and finite")
    return budget / flops_per_param_example
