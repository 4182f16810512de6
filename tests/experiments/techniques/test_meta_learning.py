"""Meta-learning: how a task moves the start, how tasks are drawn, what they cost, what is refused."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from experiments.data import describe_dataset
from experiments.spec import TrialSpec
from experiments.techniques import meta_learning
from experiments.techniques.meta_learning import MetaLearningOptions, check, draw_task
from experiments.trial import run_trial

RATE = 0.1


class Bench:
    """What learning a task asks of a workbench."""

    spec = TrialSpec(
        dataset="x", family="mlp", width=8, depth=1, n_train=8, base_width=8, optimizer="sgd", momentum=0.0,
        learning_rate=RATE, weight_decay=0.0,
    )  # fmt: skip

    def base_model(self):
        return network()


def network(seed=0):
    """Six numbers, five hidden units, two classes; the head is zeros, as a task's is."""
    torch.manual_seed(seed)
    model = nn.Sequential()
    model.add_module("body", nn.Linear(6, 5))
    model.add_module("bend", nn.Tanh())
    model.add_module("head", nn.Linear(5, 2))
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.zero_()
    return model


def task(n=4):
    """Random inputs of two classes."""
    chance = torch.Generator().manual_seed(1)
    return torch.randn(2 * n, 6, generator=chance), torch.arange(2 * n) % 2


def descend(model, inputs, labels, steps):
    """Plain gradient descent, written out."""
    for _ in range(steps):
        gradients = torch.autograd.grad(functional.cross_entropy(model(inputs), labels), list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= RATE * gradient
    return model


def test_reptile_moves_the_start_towards_the_end_of_a_task():
    """A share of the way that gradient descent, written out, goes in three steps."""
    inputs, labels = task()
    moved, start, end = network(), network(), descend(network(), inputs, labels, 3)
    options = MetaLearningOptions(ways=2, shots=4, inner_steps=3, meta_rate=0.5)
    meta_learning._learn_task(moved, inputs, labels, Bench(), options, 0.5)

    for found, first, last in zip(moved.parameters(), start.parameters(), end.parameters(), strict=True):
        torch.testing.assert_close(found, first + 0.25 * (last - first))
        assert not torch.equal(found, first) or found.ndim == 1


def test_first_order_maml_takes_the_gradient_at_the_end_on_other_examples():
    """Start - rate x gradient of the second half, taken where the first half has led."""
    inputs, labels = task(8)
    moved, start, end = network(), network(), descend(network(), inputs[:8], labels[:8], 3)
    loss = functional.cross_entropy(end(inputs[8:]), labels[8:])
    gradients = torch.autograd.grad(loss, list(end.parameters()))
    options = MetaLearningOptions(algorithm="first-order-maml", ways=2, shots=4, inner_steps=3, meta_rate=0.5)
    meta_learning._learn_task(moved, inputs, labels, Bench(), options, 1.0)

    for found, first, gradient in zip(moved.parameters(), start.parameters(), gradients, strict=True):
        torch.testing.assert_close(found, first - 0.5 * RATE * gradient)


@pytest.mark.parametrize(("algorithm", "passes"), [("reptile", 5), ("first-order-maml", 6)])
def test_meta_training_is_charged_task_by_task(algorithm, passes, brief_trial, shared_machine, mlp_flops):
    """Tasks x steps x examples, with the head of a task, by hand."""
    _, step = mlp_flops
    row = run_trial(brief_trial("meta-learning", options={"algorithm": algorithm}), shared_machine)["row"]

    assert row["train_flops_meta-train"] == 3 * passes * 5 * 4 * step(8, classes=5)
    assert row["train_flops_adapt"] == 64 * step(8)


def test_a_task_of_maml_asks_about_other_examples_than_it_shows():
    """Both halves hold every class equally often, and no example stands in both."""
    labels = np.repeat(np.arange(7), 20)
    options = MetaLearningOptions(algorithm="first-order-maml", ways=3, shots=4)
    places, ways = draw_task(labels, options, np.random.default_rng(0))

    assert len(set(places)) == 24
    for half in (slice(0, 12), slice(12, 24)):
        assert np.bincount(ways[half]).tolist() == [4, 4, 4]
    assert all(len(set(labels[places[ways == way]])) == 1 for way in range(3))
    assert len({labels[places[ways == way][0]] for way in range(3)}) == 3


def test_classes_with_too_few_examples_are_passed_over():
    """A class of one example is in no task; where too few classes are left, it is said."""
    labels = np.array([0] + [1] * 5 + [2] * 5)
    options = MetaLearningOptions(ways=2, shots=5)
    drawn = {labels[draw_task(labels, options, np.random.default_rng(seed))[0]].min() for seed in range(20)}

    assert drawn == {1}
    with pytest.raises(ValueError, match="only 2 classes of glyphs have the 5 examples of a task, but ways is 3"):
        draw_task(labels, options.model_copy(update={"ways": 3}), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"source_train": 30}, "take at least 40, or fewer shots"),
        ({"ways": 100}, "ways is 100"),
        ({"source": "digits"}, "data set of the trial itself"),
    ],
)
def test_impossible_tasks_are_refused_at_plan_time(options, words, brief_trial, shared_machine):
    """With the value and the remedy."""
    trial = brief_trial("meta-learning", options=options)

    with pytest.raises(ValueError, match=words):
        check(trial, describe_dataset(trial.dataset), shared_machine)
