"""Laws of two arms at once: one curve of error against cost, and how far a technique moves and bends it.

With x the log cost and arm 0 for the baseline, 1 for the technique, ``z = alpha (x + arm g) + arm b x``:

    power       log error = a - z
    saturating  error = E + exp(a - z)

The baseline needs the cost x' for the error that the technique reaches at x, where ``x' = x + g + (b / alpha) x``
under either law: g is the log gain at x = 0, the centre of the points, and b what the exponents differ by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from scaling.laws.additive import STEEPEST
from scaling.laws.base import Array, Law, Parameter, number

# e^16 is nine million: a gain beyond it is no gain that runs could show.
LARGEST_LOG_GAIN = 16.0
LARGEST_STATED_GAIN = math.exp(0.999 * LARGEST_LOG_GAIN)
# Shares of the least error tried as irreducible error.
IRREDUCIBLE_SHARES = (0.0, 0.3, 0.6, 0.8, 0.9, 0.97)

_IRREDUCIBLE = Parameter("E", "error that no cost removes, in either arm", 0.0, np.inf)
_COMMON = (
    Parameter("A", "reducible error of the baseline at 1 unit of cost", 0.0, np.inf, "log"),
    Parameter("alpha", "exponent of the baseline", 0.0, STEEPEST),
    Parameter("log_gain", "log of the compute-equivalent gain", -LARGEST_LOG_GAIN, LARGEST_LOG_GAIN),
)
_BEND = Parameter("bend", "exponent of the technique less that of the baseline", -STEEPEST, STEEPEST)


class JointLaw(Law):
    """Error of two arms against one cost, with a common exponent or with one each, with or without E in common."""

    roles = ("cost", "arm")
    # The arm is a mark and not a quantity: its origin stays.
    centred = (True, False)

    def __init__(self, name: str, *, irreducible: bool, bends: bool) -> None:
        self.name = name
        self.irreducible = irreducible
        self.bends = bends
        first = (_IRREDUCIBLE,) if irreducible else ()
        self.parameters = (*first, *_COMMON, *((_BEND,) if bends else ()))

    def evaluate(self, theta: Array, x: Array) -> Array:
        power = theta[:, self._first, None] - self._fall(theta, x)
        return np.log(theta[:, :1] + np.exp(power)) if self.irreducible else power

    def evaluate_with_jacobian(self, theta: Array, x: Array) -> tuple[Array, Array]:
        first = self._first
        alpha, gain = theta[:, first + 1, None], theta[:, first + 2, None]
        jacobian = np.empty((theta.shape[0], self.n_parameters, x.shape[1]))
        jacobian[:, first] = 1.0
        jacobian[:, first + 1] = -(x[0] + gain * x[1])
        jacobian[:, first + 2] = -alpha * x[1]
        if self.bends:
            jacobian[:, first + 3] = -x[0] * x[1]
        power = theta[:, first, None] - self._fall(theta, x)
        if not self.irreducible:
            return power, jacobian
        reducible = np.exp(power)
        total = theta[:, :1] + reducible
        jacobian[:, first:] *= (reducible / total)[:, None]
        jacobian[:, 0] = 1.0 / total
        return np.log(total), jacobian

    def starts(self, x: Array, y: Array, weight: Array) -> Array:
        """Straight lines through the logarithms of what is left above each share of the least error."""
        if not self.irreducible:
            return self._lines(x, y, weight)[None]
        error = np.exp(y)
        rows = []
        for share in IRREDUCIBLE_SHARES:
            least = share * error.min()
            rows.append(np.concatenate([[least], self._lines(x, np.log(error - least), weight)]))
        return np.array(rows)

    def shift(self, theta: Array, by: Array) -> Array:
        first = self._first
        moved = np.array(theta, dtype=np.float64)
        alpha = moved[..., first + 1]
        moved[..., first] += alpha * by[0]
        if self.bends:
            with np.errstate(divide="ignore", invalid="ignore"):
                moved[..., first + 2] -= moved[..., first + 3] / alpha * by[0]
        return moved

    def equation(self, parameters: Mapping[str, float]) -> str:
        level = f"{number(parameters['E'])} + " if self.irreducible else ""
        moved = f"({number(np.exp(parameters['log_gain']))}^arm C)"
        bend = f" C^({number(-parameters['bend'])} arm)" if self.bends else ""
        return f"error = {level}{number(parameters['A'])} {moved}^-{number(parameters['alpha'])}{bend}"

    def reduced(self) -> Mapping[str, float]:
        return {"E": 0.0} if self.irreducible else {}

    def log_gain(self, theta: Array, x: Array) -> Array:
        """Log gain at centred log costs, (batch, n_costs), of coordinates (batch, n_parameters)."""
        first = self._first
        gain = np.broadcast_to(theta[:, first + 2, None], (len(theta), np.size(x)))
        if not self.bends:
            return gain
        with np.errstate(divide="ignore", invalid="ignore"):
            return gain + theta[:, first + 3, None] / theta[:, first + 1, None] * np.atleast_1d(x)

    def log_cost(self, theta: Array, log_error: float, arm: int) -> Array:
        """Centred log cost at which an arm reaches an error; infinite below the irreducible one."""
        first = self._first
        alpha, gain = theta[:, first + 1], theta[:, first + 2]
        bend = theta[:, first + 3] if self.bends else 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            reducible = np.log(np.maximum(np.exp(log_error) - (theta[:, 0] if self.irreducible else 0.0), 0.0))
            return np.asarray((theta[:, first] - reducible - arm * alpha * gain) / (alpha + arm * bend))

    def parameter(self, theta: Array, name: str) -> Array:
        """One coordinate of many vectors."""
        return theta[:, self.names.index(name)]

    @property
    def _first(self) -> int:
        return int(self.irreducible)

    def _fall(self, theta: Array, x: Array) -> Array:
        first = self._first
        fall = theta[:, first + 1, None] * (x[0] + theta[:, first + 2, None] * x[1])
        return fall + theta[:, first + 3, None] * x[0] * x[1] if self.bends else fall

    def _lines(self, x: Array, y: Array, weight: Array) -> Array:
        columns = [np.ones_like(y), x[0], x[1], *([x[0] * x[1]] if self.bends else [])]
        design = np.sqrt(weight) * np.array(columns)
        level, slope, step, *bend = np.linalg.lstsq(design.T, np.sqrt(weight) * y, rcond=None)[0]
        alpha = np.clip(-slope, 1e-3, STEEPEST)
        gain = np.clip(-step / alpha, -LARGEST_LOG_GAIN / 2, LARGEST_LOG_GAIN / 2)
        return np.array([level, alpha, gain, *(-value for value in bend)])


SHIFT = {
    "power": JointLaw("power", irreducible=False, bends=False),
    "saturating": JointLaw("saturating", irreducible=True, bends=False),
}
BEND = {
    "power": JointLaw("power with two exponents", irreducible=False, bends=True),
    "saturating": JointLaw("saturating with two exponents", irreducible=True, bends=True),
}
