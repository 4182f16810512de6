"""What an analysis found, for people: sentences with their intervals, and tables to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments.sweep import FitSpec
from experiments.wording import agree
from scaling.bootstrap import Intervals
from scaling.columns import label
from scaling.fit import counted
from scaling.holdout import Backtest

RATES = frozenset({"test_error", "validation_error", "shift_error"})
FRONTIER_COLUMNS = (
    "dataset",
    "family",
    "technique",
    "width",
    "depth",
    "n_train",
    "epochs",
    "learning_rate",
    "n_params",
)


def answer(
    runs: pd.DataFrame,
    front: pd.DataFrame,
    fits: Sequence[Intervals],
    tested: Backtest | None,
    settings: FitSpec,
) -> tuple[str, ...]:
    """The result in sentences, each number with its interval."""
    sentences = [_law_sentence(intervals, settings) for intervals in fits]
    if tested is not None:
        sentences.append(_backtest_sentence(tested))
    costs = front[settings.cost]
    decades = _decades(costs)
    best = float(front[settings.error].min())
    counts = Counter(runs["status"])
    others = "".join(f", {number} {status}" for status, number in sorted(counts.items()) if status != "finished")
    sentences.append(
        f"Seen in {counted(len(runs), 'trial')} ({counts['finished']:,} finished{others}), whose frontier has "
        f"{counted(len(front), 'cell')} "
        f"over {decades:.1f} decades of {label(settings.cost)}; the least mean {label(settings.error)} is "
        f"{_error_text(settings.error, best)}."
    )
    left_out = [reason for _, reason in fits[0].fit.left_out if not reason.startswith("status ")]
    if left_out:
        sentences.append(
            f"{counted(len(left_out), 'finished trial')} {agree(len(left_out), 'is', 'are')} not in the fit; the first "
            f"because {left_out[0]}."
        )
    return tuple(sentences)


def headline(
    sentences: Sequence[str], fits: Sequence[Intervals], tested: Backtest | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split the answer into what is read first, three sentences at most, and what qualifies it.

    The law that leads is, of those that may be quoted, the one that predicted dearer runs best.
    """
    order = {} if tested is None else {str(law): place for place, law in enumerate(tested.scores["law"])}
    places = range(len(fits))
    quoted = [place for place in places if fits[place].exponent is not None]
    leading = min(quoted or places, key=lambda place: (order.get(fits[place].fit.law, place), place))
    first = [leading, *range(len(fits), min(len(fits) + (tested is not None) + 1, len(sentences)))]
    rest = [place for place in range(len(sentences)) if place not in first]
    return tuple(sentences[place] for place in first), tuple(sentences[place] for place in rest)


def frontier_view(front: pd.DataFrame, settings: FitSpec) -> pd.DataFrame:
    """The frontier for people: the settings that vary, then cost, error and what stands behind it."""
    varied = [name for name in FRONTIER_COLUMNS if name in front.columns and front[name].nunique(dropna=False) > 1]
    return front[[*varied, settings.cost, settings.error, "spread", "n_seeds"]]


def fits_view(fits: Sequence[Intervals]) -> pd.DataFrame:
    """One row per law: its exponent with interval if it may be quoted, else why not."""
    rows = []
    for intervals in fits:
        found, exponent = intervals.fit, intervals.exponent
        rows.append(
            {
                "law": found.law,
                "status": found.status.name.lower(),
                "exponent k": found.exponent if exponent else None,
                "low": exponent.low if exponent else None,
                "high": exponent.high if exponent else None,
                "equation or reason": found.equation if found.converged else found.reason,
            }
        )
    return pd.DataFrame(rows)


def trials_view(runs: pd.DataFrame, settings: FitSpec) -> pd.DataFrame:
    """The runs for people, cheapest first."""
    wanted = [
        "trial_id", "technique", "family", "width", "depth", "n_train", "seed", "status", settings.cost, settings.error,
        "validation_error", "n_params", "energy_joules", "energy_source", "wall_seconds", "reason",
    ]  # fmt: skip
    names = [name for name in dict.fromkeys(wanted) if name in runs.columns and runs[name].notna().any()]
    return runs[names].sort_values(settings.cost, kind="stable")


def not_known(runs: pd.DataFrame, fits: Sequence[Intervals], settings: FitSpec, not_chosen: Sequence[str]) -> list[str]:
    """What the runs cannot say, one sentence each."""
    sentences = [
        f"The {intervals.fit.law} law gives no number: {intervals.fit.reason}."
        for intervals in fits
        if not intervals.fit.converged
    ]
    sources = set(runs["energy_source"].dropna()) if "energy_source" in runs.columns else {"unknown"}
    if "estimated" in sources:
        sentences.append(
            "Joules are estimated from a power model, not measured: this machine shows no energy counter "
            "for all of its parts."
        )
    if "unknown" in sources:
        sentences.append("The energy of some trials is unknown; they are left empty, not counted as 0.")
    if not_chosen:
        sentences.append(
            f"{counted(len(not_chosen), 'trial')} with a learning rate that did worse on validation than another "
            f"{agree(len(not_chosen), 'is', 'are')} in the table and not in the fit; what they cost is not charged to "
            "the trials that were chosen."
        )
    unfinished = runs.loc[runs["status"] != "finished", "status"]
    if len(unfinished):
        sentences.append(
            f"{counted(len(unfinished), 'trial')} did not finish and {agree(len(unfinished), 'has', 'have')} no "
            f"{label(settings.error)}; {agree(len(unfinished), 'it is', 'they are')} in the table."
        )
    sentences.append(
        "Beyond the largest cost seen, a law is a guess: its bands know of the noise, not of a law that is wrong there."
    )
    return sentences


def _law_sentence(intervals: Intervals, settings: FitSpec) -> str:
    found, exponent = intervals.fit, intervals.exponent
    if not found.converged:
        return f"Under the {found.law} law the exponent is not given: {found.reason}."
    if found.exponent is None or exponent is None:
        return (
            f"Under the {found.law} law the exponent is not given, for it would have no interval: "
            f"{intervals.n_failed} of {intervals.n_resamples} resamples of {counted(found.n_cells, 'cell')} could not "
            "be fitted; more cells would help."
        )
    level = f"{settings.level:.0%}"
    halving = "" if "E" in found.parameters else (
        f", so halving the error takes {2**found.exponent:.3g} times the {label(settings.cost)} "
        f"[{2**exponent.low:.3g}, {2**exponent.high:.3g}]"
    )  # fmt: skip
    return (
        f"Under the {found.law} law, {label(settings.cost)} grows with performance to the power "
        f"{found.exponent:.2f} [{exponent.low:.2f}, {exponent.high:.2f}] ({level} interval){halving}."
    )


def _backtest_sentence(tested: Backtest) -> str:
    if tested.best is None:
        return "No law could be tested on runs held back: there are too few budgets."
    score = tested.scores.set_index("law").loc[tested.best]
    return (
        f"Fitted to the cheaper runs only, the {tested.best} law predicted the next dearer ones best: "
        f"{score['score']:.1%} off in log error, {score['rmse_log']:.1%} over all "
        f"{int(score['n_predictions'])} predictions."
    )


def _error_text(error: str, value: float) -> str:
    """An error rate of the runs table as a percentage; any other column as the number that it holds."""
    return f"{value:.2%}" if error in RATES else f"{value:.4g}"


def _decades(costs: pd.Series) -> float:
    return float(np.log10(costs.max() / costs.min())) if len(costs) else 0.0
