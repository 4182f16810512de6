"""Efficiency guarded like behaviour: tonight's sweep against a kept one, trial by trial, and drift over many nights."""

from scaling.guard.drift import Drift, measure_drift
from scaling.guard.finding import Finding, Kind
from scaling.guard.night import Night, NightSetting, judge_night
from scaling.guard.pairs import PAIR_KEYS, Pairs, pair_trials
from scaling.guard.power import SeedNoise, Share, failing_nights, measure_seed_noise

__all__ = [
    "PAIR_KEYS",
    "Drift",
    "Finding",
    "Kind",
    "Night",
    "NightSetting",
    "Pairs",
    "SeedNoise",
    "Share",
    "failing_nights",
    "judge_night",
    "measure_drift",
    "measure_seed_noise",
    "pair_trials",
]
