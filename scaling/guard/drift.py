"""Drift over many nights: a slow loss that no single night shows.

Every night is compared with the same baseline, with the same seeds. Nights whose results are the same to the last bit
are one observation, however many they are: a repetition adds no evidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from scaling.compare.gain import Estimate, Verdict

# Fewer distinct nights than this give no line.
LEAST_NIGHTS = 5
WINDOW_NIGHTS = 30


@dataclass(frozen=True)
class Drift:
    """How a gain has moved from the first night of the window to the last.

    Attributes:
        verdict: COSTS_MORE where the line surely falls over the window, EQUIVALENT where it surely stays within the
            margin, CANNOT_TELL otherwise, REFUSED where there are too few distinct nights.
        change: Gain of the last night over that of the first, on the line; below 1 learning has become dearer.
        n_nights: Distinct nights within the window.
        n_recorded: Nights in the window, repetitions included.
        reason: Why there is no number.
    """

    verdict: Verdict
    change: Estimate | None
    n_nights: int
    n_recorded: int
    reason: str = ""

    @property
    def is_loss(self) -> bool:
        """Whether learning has surely become dearer over these nights."""
        return self.verdict is Verdict.COSTS_MORE

    @property
    def sentence(self) -> str:
        """The drift in words."""
        if self.change is None:
            return f"Drift: no number, as {self.reason}."
        more, least, most = (100 * (1 / value - 1) for value in (self.change.value, self.change.high, self.change.low))
        moved = f"{more:+.1f}% [{least:+.1f}%, {most:+.1f}%] over {self.n_nights} distinct nights"
        words = {
            Verdict.COSTS_MORE: "learning has slowly become dearer",
            Verdict.SHIFTS: "learning has slowly become cheaper",
            Verdict.EQUIVALENT: "no drift beyond the margin",
            Verdict.CANNOT_TELL: "these nights cannot tell a drift",
        }
        return f"Drift: {words[self.verdict]}, {moved}."

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "status": self.verdict.name.lower(), "change": None if self.change is None else self.change.to_dict(),
            "n_nights": self.n_nights, "n_recorded": self.n_recorded, "reason": self.reason or None,
            "sentence": self.sentence,
        }  # fmt: skip


def measure_drift(
    gains: Sequence[float | None],
    results: Sequence[str] | None = None,
    *,
    margin: float = 0.05,
    level: float = 0.98,
    window: int = WINDOW_NIGHTS,
) -> Drift:
    """Fit a line through the log gains of the last nights.

    Args:
        gains: One per night, oldest first; None where a night had no number.
        results: A name for all results of each night, the same for nights that are the same to the last bit; if not
            given, nights with exactly the same gain are. The first of them counts.
        margin: Within which the movement over the window is no drift.
        level: Two-sided, of the interval; 0.98 gives 1% false alarms of a loss per look.
        window: Nights looked at, the last ones.

    Raises:
        ValueError: If a gain is not positive, the level is not in (0, 1), or there are not as many names as nights.

    Source:
        Slope of a least-squares line with Student's t, for noise that is independent between distinct nights. Not
        checked: a change of a library that moves all later nights alike is a step, not a line, and is judged by the
        single night.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, but it lies between 0 and 1")
    recent = list(gains)[-window:]
    for gain in recent:
        if gain is not None and not (math.isfinite(gain) and gain > 0):
            raise ValueError(f"a night's gain is {gain}, but a gain is above 0 and finite")
    if results is not None and len(results) != len(gains):
        raise ValueError(f"there are {len(gains)} nights, but {len(results)} names of results; give one for each")
    names = list(results)[-window:] if results is not None else recent
    kept = [
        (place, math.log(gain))
        for place, gain in enumerate(recent)
        if gain is not None and names[place] not in names[:place]
    ]
    if len(kept) < LEAST_NIGHTS:
        nights = "1 distinct night is" if len(kept) == 1 else f"{len(kept)} distinct nights are"
        reason = f"{nights} too few for a line; {LEAST_NIGHTS} are needed"
        return Drift(Verdict.REFUSED, None, len(kept), len(recent), reason)
    value, error = _slope(np.array(kept))
    span = kept[-1][0] - kept[0][0]
    reach = float(stdtrit(len(kept) - 2, (1 + level) / 2)) * error
    low, middle, high = ((value + side * reach) * span for side in (-1, 0, 1))
    change = Estimate(math.exp(middle), math.exp(low), math.exp(high))
    return Drift(_verdict(low, high, margin), change, len(kept), len(recent))


def _verdict(low: float, high: float, margin: float) -> Verdict:
    """A sure loss is a drift however small: it goes on."""
    if high < 0:
        return Verdict.COSTS_MORE
    if low > 0:
        return Verdict.SHIFTS
    reach = math.log1p(margin)
    return Verdict.EQUIVALENT if -reach <= low and high <= reach else Verdict.CANNOT_TELL


def _slope(points: np.ndarray) -> tuple[float, float]:
    """Slope of a line and its standard error."""
    x, y = points[:, 0] - points[:, 0].mean(), points[:, 1] - points[:, 1].mean()
    slope = float((x * y).sum() / (x**2).sum())
    residual = y - slope * x
    return slope, math.sqrt(float((residual**2).sum()) / (len(x) - 2) / float((x**2).sum()))
