"""The project's own speed, night by night: ratios to what one would use instead, against limits and their history.

A ratio is the time of the other way over ours, both measured in the same minutes on the same machine, so that neither a
slow night nor another processor moves it much. Above 1 ours is faster.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Fewer nights than this are no history to compare with.
LEAST_HISTORY = 5
WINDOW_NIGHTS = 30


@dataclass(frozen=True)
class Limit:
    """What a ratio must keep to.

    Attributes:
        meaning: What is divided by what, in words.
        at_least: A night with less fails, whatever came before.
        share_of_usual: A night with less than this share of the median of the nights before fails too.
    """

    meaning: str
    at_least: float
    share_of_usual: float = 0.7

    def __post_init__(self) -> None:
        if not self.at_least > 0:
            raise ValueError(f"at_least is {self.at_least}, but a ratio of times is above 0")
        if not 0 < self.share_of_usual < 1:
            raise ValueError(f"share_of_usual is {self.share_of_usual}, but it is a share: above 0, below 1")


@dataclass(frozen=True)
class SpeedFinding:
    """One ratio tonight.

    Attributes:
        name: Of the ratio.
        ratio: Time of the other way over ours.
        limit: What it must keep to.
        usual: Median of the nights before; None where they are too few.
        n_before: Nights before that have this ratio.
    """

    name: str
    ratio: float
    limit: Limit
    usual: float | None
    n_before: int

    @property
    def failures(self) -> tuple[str, ...]:
        """What fails the night, in words; empty if nothing does."""
        found = []
        if not self.ratio >= self.limit.at_least:
            found.append(f"{self.name} is {self.ratio:.3g}, below its limit of {self.limit.at_least:.3g}")
        if self.usual is not None and not self.ratio >= self.limit.share_of_usual * self.usual:
            found.append(
                f"{self.name} is {self.ratio:.3g}, below {self.limit.share_of_usual:.0%} of the {self.usual:.3g} that "
                f"{self.n_before} nights had in the median"
            )
        return tuple(f"{words} ({self.limit.meaning})." for words in found)


def judge_speed(
    ratios: Mapping[str, float], limits: Mapping[str, Limit], before: Sequence[Mapping[str, float]] = ()
) -> tuple[SpeedFinding, ...]:
    """Compare tonight's ratios with their limits and with the nights before.

    Args:
        ratios: By name.
        limits: One for each ratio.
        before: The ratios of each earlier night, oldest first; the last 30 are looked at.

    Raises:
        ValueError: If a ratio has no limit, a limit has no ratio, or a ratio is not positive and finite.
    """
    if set(ratios) != set(limits):
        odd = ", ".join(sorted(set(ratios) ^ set(limits)))
        raise ValueError(f"ratios and limits do not match: {odd}; give each ratio one limit")
    found = []
    for name, ratio in ratios.items():
        if not (math.isfinite(ratio) and ratio > 0):
            raise ValueError(f"the ratio {name} is {ratio}, but a ratio of times is above 0 and finite")
        known = [night[name] for night in before[-WINDOW_NIGHTS:] if name in night]
        usual = statistics.median(known) if len(known) >= LEAST_HISTORY else None
        found.append(SpeedFinding(name, ratio, limits[name], usual, len(known)))
    return tuple(found)


def speed_markdown(findings: Sequence[SpeedFinding]) -> str:
    """The night's ratios as Markdown: the verdict, what failed it, the table."""
    failures = [words for finding in findings for words in finding.failures]
    headline = f"{len(failures)} findings" if failures else "every ratio keeps to its limit"
    lines = [f"## Speed of the project itself: {headline}", "", *(f"- {words}" for words in failures), ""]
    lines += ["| ratio | tonight | limit | usual | nights before |", "|---|---|---|---|---|"]
    for one in findings:
        usual = "–" if one.usual is None else f"{one.usual:.3g}"
        lines.append(f"| {one.name} | {one.ratio:.3g} | {one.limit.at_least:.3g} | {usual} | {one.n_before} |")
    return "\n".join(lines) + "\n"
