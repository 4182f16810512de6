"""Do transfer, meta-learning and data pruning help where examples are few? Paired by seed, on digits.

    python benchmarks/few_examples.py transfer|meta-learning|data-pruning [N_SEEDS]

A small residual network at the settings of the sweep that ships; nothing is tuned. The control trains
without the technique for four times as long.
"""

import sys

import numpy as np
from scipy import stats

from experiments.machine import Machine
from experiments.spec import TrialSpec
from experiments.trial import run_trial

LEVEL, EPOCHS, LONGER = 0.95, 40, 4
EXAMPLES = {"transfer": (50, 100), "meta-learning": (50, 100), "data-pruning": (100, 800)}
OPTIONS = {
    "transfer": [{"freeze": freeze} for freeze in ("none", "body")],
    "meta-learning": [{"algorithm": algorithm} for algorithm in ("reptile", "first-order-maml")],
    "data-pruning": [{"order": order} for order in ("hard", "easy", "random")],
}


def measure(n_train: int, seed: int, technique: str, epochs: float = EPOCHS, **options: str) -> tuple[float, float]:
    """Test error of one network, and what it took in all [FLOP]."""
    record = run_trial(
        TrialSpec(
            dataset="digits", family="resnet", width=8, depth=1, base_width=8, n_train=n_train, epochs=epochs,
            seed=seed, technique=technique, technique_options=options, learning_rate=0.01,
        ),
        Machine(device="cpu"),
    )  # fmt: skip
    assert record["status"] == "finished", record["reason"]
    return record["row"]["test_error"], record["row"]["train_flops"]


def interval(values: np.ndarray) -> str:
    """Mean with Student's interval."""
    half = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():+.4f} [{values.mean() - half:+.4f}, {values.mean() + half:+.4f}]"


technique = sys.argv[1]
n_seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
for n_train in EXAMPLES[technique]:
    plain = np.array([measure(n_train, seed, "baseline") for seed in range(n_seeds)])
    print(f"{n_train} examples: baseline {plain[:, 0].mean():.4f}", flush=True)
    others = {str(options): (technique, EPOCHS, options) for options in OPTIONS[technique]}
    for name, (kind, epochs, options) in {**others, "longer": ("baseline", LONGER * EPOCHS, {})}.items():
        found = np.array([measure(n_train, seed, kind, epochs, **options) for seed in range(n_seeds)])
        cost = found[:, 1].mean() / plain[:, 1].mean()
        gain = interval(plain[:, 0] - found[:, 0])
        print(f"  {name}: {found[:, 0].mean():.4f}  gain {gain}  training cost x {cost:.2f}", flush=True)
