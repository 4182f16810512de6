"""What an analysis found, for people: sentences with their intervals, and tables to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments.sweep import FitSpec
from scaling.bootstrap import Intervals
from scaling.columns import label
from scaling.holdout import Backtest
from scaling.words import agree, counted

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
    """The result in sentences, each number with its interval: laws, backtest, what was seen, notes on the table.

    Where the law that predicted best has no exponent to give, one sentence says so and gives that of the law that
    leads.
    """
    sentences = [_law_sentence(intervals, settings) for intervals in fits]
    if tested is not None and _best_is_refused(fits, tested):
        place = _leading(fits, tested)
        sentences[place] = _instead_sentence(fits[place], fits, tested, settings)
    elif tested is not None:
        sentences.append(_backtest_sentence(fits, tested))
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
    sentences += [f"Note: {note}." for note in _notes(fits)]
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
    """Split the answer into what is read first, and what qualifies it.

    First come three sentences at most and the notes on the table, without which they may mislead. The law that leads
    is, of those that may be quoted, the one that predicted dearer runs best.
    """
    has_backtest = tested is not None and not _best_is_refused(fits, tested)
    last = len(fits) + has_backtest + 1 + len(_notes(fits))
    first = [_leading(fits, tested), *range(len(fits), min(last, len(sentences)))]
    rest = [place for place in range(len(sentences)) if place not in first]
    return tuple(sentences[place] for place in first), tuple(sentences[place] for place in rest)


def _notes(fits: Sequence[Intervals]) -> list[str]:
    """What in the table may not mean what it was taken for, each once."""
    return list(dict.fromkeys(note for intervals in fits for note in intervals.fit.notes))


def _leading(fits: Sequence[Intervals], tested: Backtest | None) -> int:
    """Of the laws with an exponent to give, or else of all, the place of the one that predicted dearer runs best."""
    order = {} if tested is None else {str(law): place for place, law in enumerate(tested.scores["law"])}
    quoted = [place for place, one in enumerate(fits) if one.exponent is not None]
    return min(quoted or range(len(fits)), key=lambda place: (order.get(fits[place].fit.law, place), place))


def _best_is_refused(fits: Sequence[Intervals], tested: Backtest | None) -> bool:
    """Whether another law than the one that predicted best gives the exponent."""
    if tested is None or tested.best is None:
        return False
    leading = fits[_leading(fits, tested)]
    return leading.exponent is not None and leading.fit.law != tested.best


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
    if found.exponent is None and found.form.compute_exponent(found.parameters) is None:
        return (
            f"Under the {found.law} law there is no exponent, for {label(settings.cost)} grows with no power of "
            f"performance: {found.equation}."
        )
    if found.exponent is None or exponent is None:
        return (
            f"Under the {found.law} law the exponent is not given, for it would have no interval: "
            f"{intervals.n_failed} of {intervals.n_resamples} resamples of {counted(found.n_cells, 'cell')} could not "
            "be fitted; more cells would help."
        )
    return f"Under the {found.law} law, {_exponent_clause(intervals, settings)}."


def _exponent_clause(intervals: Intervals, settings: FitSpec) -> str:
    """What a fit with an exponent says of compute and performance, without its full stop."""
    found, exponent = intervals.fit, intervals.exponent
    assert found.exponent is not None
    assert exponent is not None
    level = f"{settings.level:.0%}"
    halving = "" if "E" in found.parameters else (
        f", so halving the error takes {2**found.exponent:.3g} times the {label(settings.cost)} "
        f"[{2**exponent.low:.3g}, {2**exponent.high:.3g}]"
    )  # fmt: skip
    return (
        f"{label(settings.cost)} grows with performance to the power "
        f"{found.exponent:.2f} [{exponent.low:.2f}, {exponent.high:.2f}] ({level} interval){halving}"
    )


def _instead_sentence(leading: Intervals, fits: Sequence[Intervals], tested: Backtest, settings: FitSpec) -> str:
    """That the law that predicted best has no exponent to give, how far off the leading law was, and its exponent."""
    scores = tested.scores.set_index("law")["score"]
    best = next((one for one in fits if one.fit.law == tested.best), None)
    by_nature = best is not None and best.fit.converged and best.fit.form.compute_exponent(best.fit.parameters) is None
    why = "but has no exponent" if by_nature else "but its exponent is not determined"
    off = float(scores[leading.fit.law])
    how = f"was {off:.1%} off" if np.isfinite(off) else "could not be tested so"
    return (
        f"Fitted to the cheaper runs only, the {tested.best} law predicted the next dearer ones best "
        f"({scores[tested.best]:.1%} off in log error), {why}; the {leading.fit.law} law {how}: under it, "
        f"{_exponent_clause(leading, settings)}."
    )


def _backtest_sentence(fits: Sequence[Intervals], tested: Backtest) -> str:
    if tested.best is None:
        return "No law could be tested on runs held back: there are too few budgets."
    score = tested.scores.set_index("law").loc[tested.best]
    over = f", {score['rmse_log']:.1%} over all" if np.isfinite(score["rmse_log"]) else " over"
    refused = all(one.exponent is None for one in fits)
    return (
        f"Fitted to the cheaper runs only, the {tested.best} law predicted the next dearer ones best: "
        f"{score['score']:.1%} off in log error{over} "
        f"{int(score['n_predictions'])} predictions{'; but no law has an exponent to give' if refused else ''}."
    )


def _error_text(error: str, value: float) -> str:
    """An error rate of the runs table as a percentage; any other column as the number that it holds."""
    return f"{value:.2%}" if error in RATES else f"{value:.4g}"


def _decades(costs: pd.Series) -> float:
    return float(np.log10(costs.max() / costs.min())) if len(costs) else 0.0
