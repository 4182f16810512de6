"""Comparison of techniques: gains on a cost with intervals, bends, break-even, and what more would tell."""

from scaling.compare.break_even import BreakEven, Payback
from scaling.compare.comparison import Comparison, compare
from scaling.compare.costs import COSTS, Charges
from scaling.compare.gain import Bending, Estimate, Gain, Verdict
from scaling.compare.setting import Setting
from scaling.compare.synthetic import Arms, draw_arms

__all__ = [
    "COSTS",
    "Arms",
    "Bending",
    "BreakEven",
    "Charges",
    "Comparison",
    "Estimate",
    "Gain",
    "Payback",
    "Setting",
    "Verdict",
    "compare",
    "draw_arms",
]
