"""A comparison in words: one sentence per technique and cost, each number with its interval."""

from __future__ import annotations

import math

from scaling.columns import label
from scaling.compare.break_even import BreakEven, Payback
from scaling.compare.gain import Bending, Estimate, Gain, Verdict
from scaling.compare.laws import LARGEST_STATED_GAIN
from scaling.compare.needed import CHANCE, MOST_SEEDS
from scaling.words import counted

# Decades beyond the runs from which a crossing is no longer worth a word.
FARTHEST_CROSSING = 1.0
_UNITS = {
    "train_flops": "FLOP", "inference_flops": "FLOP", "lifetime": "FLOP", "sparse_train_flops": "FLOP",
    "sparse_inference_flops": "FLOP", "sparse_lifetime": "FLOP", "energy_joules": "J", "lifetime_joules": "J",
    "inference_seconds": "s", "carbon_grams": "g", "money": "", "n_params": "parameters", "model_bytes": "B",
}  # fmt: skip
_NAMES = {
    "lifetime": "lifetime compute", "lifetime_joules": "lifetime energy", "money": "money",
    "model_bytes": "stored bytes", "sparse_train_flops": "training compute of an ideal sparse machine",
    "sparse_inference_flops": "inference compute per example of an ideal sparse machine",
    "sparse_lifetime": "lifetime compute of an ideal sparse machine",
}  # fmt: skip


def cost_words(cost: str) -> str:
    """What people call a cost."""
    return _NAMES.get(cost, label(cost))


def cost_text(cost: str, value: float) -> str:
    """An amount of a cost with its unit."""
    return f"{value:.2g} {_UNITS.get(cost, '')}".strip()


def factor_text(estimate: Estimate) -> str:
    """``1.8x [1.3, 2.4]``."""
    return f"{estimate.value:.3g}x {interval_text(estimate)}"


def interval_text(estimate: Estimate) -> str:
    """``[1.3, 2.4]``; an end at the largest gain looked for (nine million) is open: ``[1.3, ∞]``, ``[0, 2.4]``."""
    return f"[{_end_text(estimate.low)}, {_end_text(estimate.high)}]"


def _end_text(value: float) -> str:
    return "0" if value < 1 / LARGEST_STATED_GAIN else "∞" if value > LARGEST_STATED_GAIN else f"{value:.3g}"


def marks_text(baseline: str, margin: float) -> str:
    """How the cells of the overview are read."""
    return (
        f"A gain of 2 means that {baseline} needs twice the cost for the same error; in brackets its interval, 0 or ∞ "
        f"where no bound was found. ? these runs cannot tell; = no difference beyond {margin:.0%}; – no number, see "
        "why below."
    )


def gain_sentence(gain: Gain) -> str:
    """What a technique does to the frontier of one cost."""
    words = cost_words(gain.cost)
    if gain.verdict is Verdict.REFUSED or gain.gain is None:
        return f"{gain.technique}, {words}: no number, because {gain.reason}."
    body = {
        Verdict.SHIFTS: _shifts, Verdict.COSTS_MORE: _costs_more, Verdict.EQUIVALENT: _equivalent,
        Verdict.CANNOT_TELL: _cannot_tell,
    }[gain.verdict](gain, gain.gain, words)  # fmt: skip
    return f"{gain.technique} {body}{_beyond(gain.gain)}."


def break_even_sentence(found: BreakEven) -> str:
    """From how many uses on a technique has paid for its training."""
    head = f"Against {found.baseline}, over training and uses together, {found.technique}"
    if found.payback is Payback.REFUSED:
        return f"{head} has no break-even: {found.reason}."
    if found.payback is Payback.CANNOT_TELL:
        return f"{head} may pay or not: these runs cannot tell for any number of uses."
    return f"{head} {break_even_text(found)}{_known_uses(found)}."


def break_even_text(found: BreakEven) -> str:
    """``pays from 1.2e+05 uses [3e+04, 5e+05]``, or the words for the other cases."""
    if found.payback not in (Payback.FROM, Payback.UP_TO) or found.uses is None:
        return found.payback.value
    low, high = _count(found.low), _count(found.high)
    if found.payback is Payback.FROM and found.uses == 0:
        return f"pays from the first use, or at the latest from {high} uses on"
    if found.payback is Payback.FROM and math.isinf(found.uses):
        return f"does not pay, or at the earliest from {low} uses on"
    if found.payback is Payback.UP_TO and found.uses == 0:
        return f"does not pay, or at most up to {high} uses"
    if found.payback is Payback.UP_TO and math.isinf(found.uses):
        return f"pays for any number of uses, or at least up to {low}"
    word = "from" if found.payback is Payback.FROM else "up to"
    return f"pays {word} {_count(found.uses)} uses [{low}, {high}]"


def _known_uses(found: BreakEven) -> str:
    if not found.reason or found.curve is None:
        return ""
    first, last = found.curve["uses"].iloc[[0, -1]]
    return f", as far as can be told from {_count(first)} to {_count(last)} uses (beyond, {found.reason})"


def _shifts(gain: Gain, value: Estimate, words: str) -> str:
    return f"shifts the frontier of {words} by {factor_text(value)}{_bend(gain)}"


def _costs_more(gain: Gain, value: Estimate, words: str) -> str:
    more = Estimate(1 / value.value, 1 / value.high, 1 / value.low)
    return f"costs {factor_text(more)} the {words} for the same error{_bend(gain)}"


def _equivalent(gain: Gain, value: Estimate, words: str) -> str:
    return f"makes no difference in {words} beyond {gain.margin:.0%} ({factor_text(value)}){_bend(gain)}"


def _cannot_tell(gain: Gain, value: Estimate, words: str) -> str:
    text = f"cannot be told from {gain.baseline} in {words} by these runs ({factor_text(value)})"
    needed = gain.needed
    if needed is None:
        return text
    if needed.n_trials is None or needed.n_seeds is None:
        return f"{text}; {MOST_SEEDS} more seeds of each cell on the frontiers would not tell either{_bend(gain)}"
    seeds = f"{counted(needed.n_seeds, 'more seed')} of each cell on the frontiers"
    trials = f"{counted(needed.n_trials, 'more trial')} at {cost_text(gain.cost, needed.cost)} on average"
    return f"{text}; {trials} ({seeds}) would, with a chance of {CHANCE:.0%} if the estimate holds{_bend(gain)}"


def _bend(gain: Gain) -> str:
    bend = gain.bend
    if bend is None or gain.exponents is None:
        why = "from error that levels off" if gain.law == "saturating" else f"({gain.bend_reason})"
        return f"; whether it bends cannot be told {why}"
    numbers = f"{bend.value:.2g} [{bend.low:.2g}, {bend.high:.2g}]"
    if gain.bending is Bending.BENDS:
        way = "falls faster" if bend.value > 0 else "falls more slowly"
        reads = ", ".join(f"{factor_text(one)} at {cost_text(gain.cost, one.at_cost or 0)}" for one in gain.at_budgets)
        return f"; and it bends, error {way} ({numbers} in the exponent): {reads}{_crossing(gain)}"
    share = f"{gain.bend_margin:.0%} of the baseline's exponent"
    if gain.bending is Bending.CANNOT_TELL:
        return f"; whether it bends cannot be told ({numbers}, and ±{gain.largest_negligible_bend:.2g} is {share})"
    words = ", does not bend it" if gain.verdict is Verdict.SHIFTS else "; it does not bend"
    return f"{words} ({numbers}, within ±{gain.largest_negligible_bend:.2g}, {share})"


def _crossing(gain: Gain) -> str:
    found = gain.crossing
    if found is None or found.decades_beyond > FARTHEST_CROSSING:
        return ""
    where = cost_text(gain.cost, found.value)
    far = f", {found.decades_beyond:.1f} decades outside the runs" if found.decades_beyond > 0 else ""
    return f"; the frontiers cross at {where} [{found.low:.2g}, {found.high:.2g}]{far}"


def _beyond(gain: Estimate) -> str:
    if gain.decades_beyond <= 0:
        return ""
    return f" (the baseline would need {gain.decades_beyond:.1f} decades more than any of its runs spent)"


def _count(uses: float) -> str:
    if math.isinf(uses):
        return "∞"
    return f"{uses:.0f}" if uses < 1e4 else f"{uses:.2g}"
