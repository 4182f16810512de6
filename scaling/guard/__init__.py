"""Efficiency guarded like behaviour: tonight's sweep against a kept one, trial by trial, and drift over many nights."""

from scaling.guard.drift import Drift, measure_drift
from scaling.guard.night import Finding, Kind, Night, NightSetting, judge_night
from scaling.guard.pairs import PAIR_KEYS, Pairs, pair_trials

__all__ = [
    "PAIR_KEYS",
    "Drift",
    "Finding",
    "Kind",
    "Night",
    "NightSetting",
    "Pairs",
    "judge_night",
    "measure_drift",
    "pair_trials",
]
