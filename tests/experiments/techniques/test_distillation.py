"""Distillation: what the loss is, what teacher and word cost, what is shared and refused."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from experiments.data import describe_dataset
from experiments.techniques.distillation import DistillationLoss, DistillationOptions, check
from experiments.trial import run_trial


def softmax(values):
    """In double precision."""
    powers = np.exp(values - values.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


class Constant(nn.Module):
    """Logits that are given."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, images):
        return self.logits[: len(images)]


@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 1.0), (4.0, 0.7), (2.0, 0.0)])
def test_the_loss_is_hintons(temperature, alpha):
    """alpha T^2 KL(teacher | student) at temperature T + (1 - alpha) cross-entropy, written out in numpy."""
    chance = np.random.default_rng(0)
    ours, theirs = chance.normal(size=(2, 5, 10)) * 3
    labels = np.array([0, 3, 9, 3, 1])
    student, teacher = softmax(ours / temperature), softmax(theirs / temperature)
    hint = np.mean(np.sum(teacher * np.log(teacher / student), 1))
    truth = -np.mean(np.log(softmax(ours)[np.arange(5), labels]))

    options = DistillationOptions(temperature=temperature, alpha=alpha)
    bench = SimpleNamespace(spec=SimpleNamespace(label_smoothing=0.0))
    models = [Constant(logits) for logits in (ours, theirs)]
    loss = DistillationLoss(*models, bench, options)(models[0], torch.zeros(5, 1, 8, 8), torch.from_numpy(labels))

    assert loss.item() == pytest.approx(alpha * temperature**2 * hint + (1 - alpha) * truth, rel=1e-5)
    loss.backward()
    assert models[1].logits.grad is None


@pytest.mark.parametrize("feature_weight", [0, 1])
def test_a_distilled_total_contains_the_teacher_and_its_word(feature_weight, brief_trial, shared_machine, mlp_flops):
    """Teacher's training, teacher's passes and the projection, all counted by hand."""
    forward, step = mlp_flops
    row = run_trial(brief_trial("distillation", options={"feature_weight": feature_weight}), shared_machine)["row"]

    projection = 6 * 8 * 16 if feature_weight else 0
    assert row["train_flops_teacher"] == 64 * step(16)
    assert row["train_flops_train"] == 64 * (step(8) + forward(16) + projection)
    assert row["train_flops"] == row["train_flops_teacher"] + row["train_flops_train"]
    assert row["inference_flops"] == forward(8)


def test_the_teacher_costs_what_a_trial_of_its_width_costs(brief_trial, shared_machine):
    """A baseline of the teacher's width, trained on its own, spends the same."""
    distilled = run_trial(brief_trial("distillation"), shared_machine)["row"]
    teacher = run_trial(brief_trial("baseline", width=16), shared_machine)["row"]

    assert distilled["train_flops_teacher"] == teacher["train_flops"]


def test_students_of_other_widths_share_a_teacher(brief_trial, shared_machine):
    """The teacher depends neither on the student's width nor on the temperature."""
    options = {"teacher_width": 16}
    run_trial(brief_trial("distillation", seed=41, options=options), shared_machine)
    narrow = run_trial(
        brief_trial("distillation", seed=41, width=4, options={**options, "temperature": 2}), shared_machine
    )

    assert next(one for one in narrow["phases"] if one["phase"] == "teacher")["elsewhere"] is True


def test_without_the_teachers_word_distillation_is_plain_training(brief_trial, shared_machine):
    """With alpha 0 the student ends where the baseline does; with the default it does not."""
    losses = [
        run_trial(trial, shared_machine)["row"]["test_loss"]
        for trial in (
            brief_trial("baseline", epochs=30),
            brief_trial("distillation", epochs=30, options={"alpha": 0}),
            brief_trial("distillation", epochs=30),
        )
    ]

    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert abs(losses[2] / losses[0] - 1) > 0.01


def test_a_student_with_the_teachers_word_alone_learns_the_classes(brief_trial, shared_machine):
    """With alpha 1 no label reaches the student, and it is far from guessing."""
    record = run_trial(brief_trial("distillation", n_train=200, epochs=20, options={"alpha": 1.0}), shared_machine)

    assert record["row"]["test_error"] < 0.4


def test_a_heavy_feature_loss_is_not_taken_for_divergence(brief_trial, shared_machine):
    """A hundred times an error of about 2 exceeds what counts as diverged for labels alone."""
    record = run_trial(brief_trial("distillation", epochs=5, options={"feature_weight": 100.0}), shared_machine)

    assert record["curve"][0]["train_loss"] > 20 * math.log(10)
    assert record["status"] == "finished", record["reason"]


@pytest.mark.parametrize(
    ("family", "options", "words"),
    [
        ("mlp", {"teacher_width": 4}, "teacher's width is 4 and the student's 8"),
        ("vit", {"teacher_scale": 1.5}, "teacher of width 24 cannot be built"),
    ],
)
def test_an_impossible_teacher_is_refused_at_plan_time(family, options, words, brief_trial, shared_machine):
    """One narrower than the student, and one whose width is no multiple of an attention head's."""
    trial = brief_trial("distillation", family, options=options)

    with pytest.raises(ValueError, match=words):
        check(trial, describe_dataset(trial.dataset), shared_machine)
