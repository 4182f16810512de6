"""All techniques over all costs: one value with a table, sentences and the same for machines."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from scaling.compare.arms import count_notes, count_statuses
from scaling.compare.break_even import BreakEven, break_even
from scaling.compare.costs import COSTS, NOT_THERE, Charged, Charges, charge, columns_of
from scaling.compare.gain import Gain, Verdict, measure_gain
from scaling.compare.sentence import break_even_sentence, break_even_text, cost_words, gain_sentence, marks_text
from scaling.compare.setting import Setting, check_setting
from scaling.compare.tables import break_even_row, budget_rows, gain_cell, gain_row
from scaling.compare.techniques import check_techniques, read_techniques
from scaling.fit import finite
from scaling.points import check_axes
from scaling.progress import Progress, silent
from scaling.reading import NOTES
from scaling.words import counted

COMPARISON_VERSION = 1
# Columns of a table that are a cost by themselves, most asked for first.
COST_COLUMNS = ("train_flops", "inference_flops", "inference_seconds", "energy_joules", "n_params")


@dataclass(frozen=True, repr=False)
class Comparison:
    """What each technique does to the frontier of each cost, and from how many uses on it pays.

    Attributes:
        baseline: What every technique is compared with.
        gains: One per technique and cost; those without a number say why.
        break_evens: One per technique.
        setting: How it was compared.
        charges: What entered the costs.
        statuses: How the trials of each technique ended, the baseline's included.
        not_known: Costs that no run has, each with the reason.
        not_chosen: Trials that lost to another learning rate on validation.
        noted: How many trials of each technique carry which note, such as that a layer lost all its weights.
        mended: What was mended in the tables as they were read.
    """

    baseline: str
    gains: tuple[Gain, ...]
    break_evens: tuple[BreakEven, ...]
    setting: Setting
    charges: Charges
    statuses: Mapping[str, Mapping[str, int]]
    not_known: Mapping[str, str]
    not_chosen: tuple[str, ...] = field(default=(), compare=False)
    noted: Mapping[str, Mapping[str, int]] = field(default_factory=dict, compare=False)
    mended: tuple[str, ...] = field(default=(), compare=False)

    @property
    def techniques(self) -> tuple[str, ...]:
        """Those that were compared with the baseline, in the order of the table."""
        return tuple(dict.fromkeys(gain.technique for gain in self.gains))

    @property
    def costs(self) -> tuple[str, ...]:
        """Costs, in the order of the table."""
        return tuple(dict.fromkeys(gain.cost for gain in self.gains))

    @property
    def table(self) -> pd.DataFrame:
        """One row per technique and cost; what has no number is empty and says why in ``reason``."""
        return pd.DataFrame([gain_row(gain) for gain in self.gains])

    @property
    def break_even_table(self) -> pd.DataFrame:
        """One row per technique: when it pays, and the number of uses with its bounds."""
        return pd.DataFrame([break_even_row(found) for found in self.break_evens])

    @property
    def budgets_table(self) -> pd.DataFrame:
        """One row per technique, cost and budget: the gain there, each arm with its own exponent where it has one."""
        columns = ["technique", "cost", "budget", "gain", "gain_low", "gain_high", "decades_beyond"]
        return pd.DataFrame([row for gain in self.gains for row in budget_rows(gain)], columns=columns)

    @property
    def overview(self) -> pd.DataFrame:
        """One row per technique, one column per cost: the gain with its interval, or nothing."""
        pays = {found.technique: break_even_text(found) for found in self.break_evens}
        rows = []
        for technique in self.techniques:
            own = {gain.cost: gain for gain in self.gains if gain.technique == technique}
            cells = {cost_words(cost): gain_cell(own.get(cost)) for cost in self.costs}
            rows.append({"technique": technique, **cells, "over its lifetime": pays.get(technique)})
        return pd.DataFrame(rows)

    @property
    def marks(self) -> str:
        """How the cells of the overview are read."""
        return marks_text(self.baseline, self.setting.margin)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The result in words."""
        return (*(text for name in self.techniques for text in self.sentences_of(name)), *self._endings())

    def sentences_of(self, technique: str) -> tuple[str, ...]:
        """The result for one technique in words."""
        gains = [gain_sentence(gain) for gain in self.gains if gain.technique == technique]
        return (*gains, *(break_even_sentence(found) for found in self.break_evens if found.technique == technique))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of what was charged and how the frontiers were chosen and matched."""
        found: dict[str, None] = dict.fromkeys([*self.charges.sentences, *(f"{note}." for note in self.mended)])
        for gain in self.gains:
            if gain.pair is not None and gain.gain is not None:
                found |= dict.fromkeys(f"{gain.technique}: {note}." for note in gain.pair.notes)
        unasked = {cost: reason for cost, reason in self.not_known.items() if cost not in self.costs}
        if unasked:
            listed = "; ".join(f"{cost_words(cost)} ({reason})" for cost, reason in unasked.items())
            found[f"Not compared: {listed}."] = None
        if self.not_chosen:
            found[f"{counted(len(self.not_chosen), 'trial')} lost to another setting on validation: not compared."] = (
                None
            )
        return tuple(found)

    def gain(self, technique: str, cost: str = "train_flops") -> Gain:
        """The gain of one technique on one cost.

        Raises:
            ValueError: If it was not compared.
        """
        for gain in self.gains:
            if (gain.technique, gain.cost) == (technique, cost):
                return gain
        raise ValueError(
            f"{technique!r} was not compared on {cost!r}; compared were {', '.join(self.techniques)} on "
            f"{', '.join(self.costs)}"
        )

    def break_even(self, technique: str) -> BreakEven:
        """From how many uses on a technique pays.

        Raises:
            ValueError: If it was not compared.
        """
        for found in self.break_evens:
            if found.technique == technique:
                return found
        raise ValueError(f"{technique!r} was not compared; compared were {', '.join(self.techniques)}")

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it: the same for the same runs."""
        return {
            "version": COMPARISON_VERSION,
            "baseline": self.baseline,
            "error": self.setting.error,
            "level": self.setting.level,
            "margin": self.setting.margin,
            "bend_margin": self.setting.bend_margin,
            "charges": {
                "leave_out": list(self.charges.leave_out), "spread": dict(self.charges.spread),
                "uses": finite(self.charges.uses), "price_per_hour": finite(self.charges.price_per_hour),
                "price_per_kwh": finite(self.charges.price_per_kwh),
            },
            "statuses": {name: dict(counts) for name, counts in self.statuses.items()},
            "noted": {name: dict(counts) for name, counts in self.noted.items()},
            "gains": [gain.to_dict() for gain in self.gains],
            "break_evens": [found.to_dict() for found in self.break_evens],
            "sentences": list(self.sentences),
            "notes": list(self.notes),
            "not_known": dict(self.not_known),
            "not_chosen": list(self.not_chosen),
        }  # fmt: skip

    def frames(self) -> dict[str, pd.DataFrame]:
        """Tables by title, for a report."""
        return {
            "Gains": self.overview,
            "Gains in full": self.table,
            "Gains at budgets": self.budgets_table,
            "Break-even": self.break_even_table,
        }

    def __repr__(self) -> str:
        table = self.overview.to_string(index=False, na_rep="–")
        return "\n".join([f"Comparison with {self.baseline}", table, self.marks, *self.sentences])

    def _repr_html_(self) -> str:
        sentences = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in self.sentences)
        table = self.overview.to_html(index=False, na_rep="–")
        return f"{table}<p>{html.escape(self.marks)}</p><ul>{sentences}</ul>"

    def _endings(self) -> list[str]:
        found = []
        for name, counts in self.statuses.items():
            lost = {status: number for status, number in counts.items() if status != "finished"}
            if lost:
                words = ", ".join(f"{number} {status}" for status, number in lost.items())
                are = "it is" if sum(lost.values()) == 1 else "they are"
                trials = counted(sum(counts.values()), "trial")
                found.append(f"Of {trials} of {name}, {words}: {are} not on its frontier.")
        for name, notes in self.noted.items():
            number, first = sum(notes.values()), max(notes, key=notes.__getitem__)
            which = "carries a note" if number == 1 else "carry a note"
            most = "" if len(notes) == 1 else ", most often" if notes[first] > 1 else ", for instance"
            trials = counted(sum(self.statuses[name].values()), "trial")
            found.append(f"Of {trials} of {name}, {number} {which}{most}: {first}.")
        return found


def compare(
    runs: pd.DataFrame,
    *,
    baseline: str = "baseline",
    techniques: Sequence[str] | None = None,
    costs: Sequence[str] | None = None,
    by: Sequence[str] = (),
    charges: Charges | None = None,
    setting: Setting | None = None,
    with_break_even: bool = True,
    progress: Progress = silent,
) -> Comparison:
    """Compare the frontiers of techniques with that of a baseline, over one or several costs.

    Args:
        runs: The runs table of a sweep, or of several put together.
        baseline: The technique that the others are compared with.
        techniques: Those to compare; all others in the table if None.
        costs: Names in `scaling.compare.costs.COSTS`; if None, all that the runs and the charges allow.
        by: Options whose every value counts as a technique of its own, such as ``density``. Otherwise the frontier
            of a technique is the best over its options.
        charges: Phases left out or spread, uses, prices.
        setting: Error, level, margin and the rest.
        with_break_even: Find from how many uses on each technique pays.
        progress: Hears how many gains and break-evens are known.

    Raises:
        ValueError: If the baseline or a technique is not in the runs, a cost is unknown, there are
            several data sets, or a setting is not allowed.
    """
    setting, charges = setting or Setting(), charges or Charges()
    table, not_chosen = read_techniques(runs, by)
    check_setting(setting, list(table.columns))
    names = check_techniques(table, baseline, techniques)
    _check_costs(costs)
    check_axes(costs or (), setting.error)
    _check_one_dataset(table[table["technique"].isin([baseline, *names])])
    charged = charge(table, charges)
    known = [cost for cost in COSTS if cost not in {*charged.missing, setting.error}]
    wanted = known if costs is None else list(dict.fromkeys(costs))
    if not wanted:
        raise ValueError(f"the runs have no cost to compare on; give them a column such as {', '.join(COST_COLUMNS)}")
    pairs = [(name, cost) for name in names for cost in wanted]
    n_all = len(pairs) + (len(names) if with_break_even else 0)
    gains: list[Gain] = []
    paid: list[BreakEven] = []
    for name, cost in pairs:
        progress(len(gains), n_all)
        gains.append(_gain(charged, baseline, name, cost, setting))
    for name in names if with_break_even else ():
        progress(len(gains) + len(paid), n_all)
        paid.append(break_even(charged.table, baseline, name, setting))
    statuses = {name: count_statuses(table, name) for name in dict.fromkeys([baseline, *names])}
    noted = {name: notes for name in statuses if (notes := count_notes(table, name))}
    return Comparison(
        baseline, tuple(gains), tuple(paid), setting, charges, statuses, charged.missing, not_chosen, noted,
        tuple(map(str, runs.attrs.get(NOTES, ()))),
    )  # fmt: skip


def _gain(charged: Charged, baseline: str, technique: str, cost: str, setting: Setting) -> Gain:
    """The gain, or the reason why the cost is not known."""
    runs = charged.table
    reason = charged.missing.get(cost)
    if reason is None and cost in charged.partly:
        empty = [name for name in (baseline, technique) if runs.loc[runs["technique"] == name, cost].isna().all()]
        reason = charged.partly[cost] if empty else None
    if reason is None:
        return measure_gain(runs, baseline, technique, cost, setting)
    return Gain(
        technique, baseline, cost, setting.error, setting.level, setting.margin, setting.bend_margin, Verdict.REFUSED,
        reason=f"{cost} is not known: {reason}{_remedy(charged, cost)}", statuses=count_statuses(runs, technique),
    )  # fmt: skip


def _remedy(charged: Charged, cost: str) -> str:
    """Which columns would make a cost known that no run has; empty where something else is wanting."""
    if charged.missing.get(cost) != NOT_THERE:
        return ""
    lacking = [name for name in columns_of(cost) if charged.table.get(name, pd.Series(dtype=float)).isna().all()]
    return f"; give the table {' and '.join(lacking)}" if lacking else ""


def _check_costs(costs: Sequence[str] | None) -> None:
    for cost in costs or ():
        if cost not in COSTS:
            raise ValueError(f"there is no cost {cost!r} to compare on; there are {', '.join(COSTS)}")


def _check_one_dataset(runs: pd.DataFrame) -> None:
    if "dataset" in runs.columns and runs["dataset"].nunique() > 1:
        listed = ", ".join(sorted(map(str, runs["dataset"].dropna().unique())))
        raise ValueError(f"the runs hold the data sets {listed}, whose errors share no frontier; compare one at a time")
