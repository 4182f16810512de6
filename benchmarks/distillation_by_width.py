"""Does distillation help small students more than large ones? Paired by seed, on digits.

    python benchmarks/distillation_by_width.py [N_SEEDS]

One teacher per seed. The rate, one for all widths, is chosen by the baselines' validation errors on
seeds of their own; temperature and weight are the defaults and were not tuned.
"""

import sys

import numpy as np
from scipy import stats

from experiments.machine import Machine
from experiments.spec import TrialSpec
from experiments.trial import Record, run_trial

WIDTHS, TEACHER_WIDTH, N_TRAIN, EPOCHS, LEVEL = (4, 8, 16, 32), 64, 500, 100, 0.95
RATES, SEEDS_FOR_RATE = (0.03, 0.1, 0.3), (100, 101, 102)


def trial(width: int, seed: int, rate: float, technique: str = "baseline", **options: float) -> Record:
    """One multilayer perceptron."""
    record = run_trial(
        TrialSpec(
            dataset="digits", family="mlp", width=width, depth=1, n_train=N_TRAIN, epochs=EPOCHS, seed=seed,
            technique=technique, technique_options=options, learning_rate=rate,
        ),
        Machine(device="cpu"),
    )  # fmt: skip
    assert record["status"] == "finished", record["reason"]
    return record


def choose_rate() -> float:
    """The rate with the least geometric mean over widths of the baseline's validation error."""
    scores = {}
    for rate in RATES:
        errors = [
            np.mean([trial(width, seed, rate)["row"]["validation_error"] for seed in SEEDS_FOR_RATE])
            for width in WIDTHS
        ]
        scores[rate] = float(np.exp(np.mean(np.log(errors))))
        print(f"rate {rate}: validation errors {np.round(errors, 4).tolist()}", flush=True)
    return min(scores, key=scores.__getitem__)


def interval(values: np.ndarray) -> str:
    """Mean with Student's interval."""
    half = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():+.4f} [{values.mean() - half:+.4f}, {values.mean() + half:+.4f}]"


n_seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
rate = choose_rate()
print(f"rate {rate} is taken")
teacher = np.mean([trial(TEACHER_WIDTH, seed, rate)["row"]["test_error"] for seed in range(n_seeds)])
print(f"teacher's test error {teacher:.4f}")
gains, ratios = {}, {}
for width in WIDTHS:
    records = [trial(width, seed, rate) for seed in range(n_seeds)]
    plain = np.array([record["row"]["test_error"] for record in records])
    seen = np.mean([record["curve"][-1]["train_loss"] for record in records])
    taught = np.array(
        [
            trial(width, seed, rate, "distillation", teacher_width=TEACHER_WIDTH)["row"]["test_error"]
            for seed in range(n_seeds)
        ]
    )
    gains[width], ratios[width] = plain - taught, np.log(plain / taught)
    means = f"training loss {seen:.3f}  baseline {plain.mean():.4f}  distilled {taught.mean():.4f}"
    print(f"width {width:3d}  {means}  gain {interval(gains[width])}  log ratio {interval(ratios[width])}", flush=True)
small, large = WIDTHS[0], WIDTHS[-1]
print(f"gain of width {small} less that of {large}: {interval(gains[small] - gains[large])}")
print(f"log ratio of width {small} less that of {large}: {interval(ratios[small] - ratios[large])}")
