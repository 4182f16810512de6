"""Does distillation help small students more than large ones? Paired by seed, on digits.

    python benchmarks/distillation_by_width.py [N_SEEDS]

One teacher per seed; temperature and weight are the defaults and were not tuned.
"""

import sys

import numpy as np
from scipy import stats

from experiments.spec import TrialSpec
from experiments.trial import run_trial
from experiments.workbench import Machine

WIDTHS, TEACHER_WIDTH, N_TRAIN, EPOCHS, LEVEL = (2, 4, 8, 16, 32), 64, 300, 30, 0.95


def test_error(width: int, seed: int, technique: str, **options: float) -> float:
    """Test error of one multilayer perceptron."""
    record = run_trial(
        TrialSpec(
            dataset="digits", family="mlp", width=width, depth=2, n_train=N_TRAIN, epochs=EPOCHS, seed=seed,
            technique=technique, technique_options=options, learning_rate=0.01,
        ),
        Machine(device="cpu"),
    )  # fmt: skip
    assert record["status"] == "finished", record["reason"]
    return record["row"]["test_error"]


def interval(values: np.ndarray) -> str:
    """Mean with Student's interval."""
    half = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():+.4f} [{values.mean() - half:+.4f}, {values.mean() + half:+.4f}]"


n_seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
gains = {}
for width in WIDTHS:
    plain = np.array([test_error(width, seed, "baseline") for seed in range(n_seeds)])
    taught = np.array([test_error(width, seed, "distillation", teacher_width=TEACHER_WIDTH) for seed in range(n_seeds)])
    gains[width] = plain - taught
    relative = (plain - taught) / plain
    means = f"baseline {plain.mean():.4f}  distilled {taught.mean():.4f}"
    print(f"width {width:3d}  {means}  gain {interval(gains[width])}  relative {interval(relative)}", flush=True)
print(f"gain of width {WIDTHS[0]} less that of {WIDTHS[-1]}: {interval(gains[WIDTHS[0]] - gains[WIDTHS[-1]])}")
