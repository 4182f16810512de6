"""Data pruning: what a score is, what is kept, and what is spent."""

import numpy as np
import pytest
import torch
from torch import nn

from experiments.data import describe_dataset
from experiments.images import Images
from experiments.machine import Machine
from experiments.techniques.data_pruning import check, error_norms, kept_positions
from experiments.trial import run_trial


class Pixels:
    """Six images of ten pixels that are their own logits."""

    in_memory = True

    def __init__(self):
        chance = np.random.default_rng(0)
        self.images = chance.integers(0, 256, (6, 1, 1, 10), dtype=np.uint8)
        self.labels = chance.integers(0, 10, 6)

    def __len__(self):
        return 6

    def read(self, indices):
        return self.images[indices]


def test_a_score_is_the_length_of_the_error_vector():
    """Softmax less one-hot label, in numpy: between 0 and the root of 2."""
    examples = Pixels()
    images = Images(examples, np.arange(6), mean=(0.5,), std=(0.1,), n_classes=10, device=torch.device("cpu"))
    logits = (examples.images.reshape(6, 10) / 255 - 0.5) / 0.1
    guesses = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = np.sqrt(((guesses - np.eye(10)[examples.labels]) ** 2).sum(1))

    found = error_norms(nn.Flatten(), images, precision="fp32").numpy()

    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert 0 < found.min() < found.max() < 2**0.5


def test_what_is_kept_is_the_hardest_of_every_class():
    """Two of four in each class, by brute force."""
    scores, labels = np.array([1, 4, 2, 3, 8, 5, 7, 6.0]), np.array([0] * 4 + [1] * 4)

    assert kept_positions(-scores, labels, 0.5, balance=True).tolist() == [1, 3, 4, 6]
    assert kept_positions(-scores, labels, 0.5, balance=False).tolist() == [4, 5, 6, 7]
    assert kept_positions(scores, labels, 0.01, balance=True).tolist() == [0, 5]


@pytest.mark.parametrize(("hold", "steps"), [("epochs", 10), ("steps", 20)])
def test_pruned_data_are_counted_beside_n_train(hold, steps, brief_trial, shared_machine, mlp_flops):
    """A random half is scored by nobody; the cost follows the examples, or stays."""
    _, step = mlp_flops
    row = run_trial(
        brief_trial("data-pruning", n_train=640, options={"order": "random", "hold": hold}), shared_machine
    )["row"]

    assert (row["n_train"], row["kept_train"]) == (640, 320)
    assert row["train_flops"] == row["train_flops_train"] == steps * 32 * step(8)


def test_scoring_is_charged_network_by_network(brief_trial, shared_machine, mlp_flops):
    """Two networks: each learns from all examples once and looks at them once more."""
    forward, step = mlp_flops
    row = run_trial(brief_trial("data-pruning"), shared_machine)["row"]

    assert row["train_flops_score"] == 2 * 64 * (step(8) + forward(8))


def test_keeping_everything_is_plain_training(brief_trial, shared_machine):
    """With keep 1 the loss is the baseline's to the last digit; with half of the examples it is another."""
    whole, half, plain = (
        run_trial(trial, shared_machine)["row"]["test_loss"]
        for trial in (
            brief_trial("data-pruning", options={"keep": 1.0}),
            brief_trial("data-pruning", options={"keep": 0.5}),
            brief_trial("baseline"),
        )
    )

    assert whole == plain != half


def test_a_single_example_is_refused_when_planning(brief_trial):
    """Batch norm has no statistics of one; of each class one, or two in all, will do."""
    info = describe_dataset("digits")
    with pytest.raises(ValueError, match=r"leaves 1 of 64 examples.*keep of at least 0\.03125, or balance: true"):
        check(brief_trial("data-pruning", options={"keep": 0.01, "balance": False}), info, Machine())

    check(brief_trial("data-pruning", options={"keep": 0.01}), info, Machine())
    check(brief_trial("data-pruning", options={"keep": 0.03125, "balance": False}), info, Machine())
