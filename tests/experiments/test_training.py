"""The training loop: schedules, endings, what is charged, and that the seed decides."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from experiments.images import Images, shifted
from experiments.spec import TrialSpec
from experiments.training import count_steps, curve_steps, make_optimizer, rate_factor, train


class Examples:
    """Ten classes, told apart by the brightness of one pixel each."""

    def __init__(self, n=64, in_memory=True):
        self.in_memory = in_memory
        self.labels = np.arange(n, dtype=np.int64) % 10
        self.pixels = np.random.default_rng(0).integers(0, 60, (n, 1, 8, 8), dtype=np.uint8)
        self.pixels[np.arange(n), 0, self.labels // 8, self.labels % 8] = 255

    def __len__(self):
        return len(self.labels)

    def read(self, indices):
        return self.pixels[indices]


def spec(**changes):
    """A small trial."""
    fields = {"dataset": "x", "family": "mlp", "width": 8, "depth": 1, "n_train": 64, "epochs": 5, "batch_size": 16}
    return TrialSpec(**{**fields, **changes})


def images(examples=None, seed=0, **options):
    """Normalised images of the examples."""
    examples = examples or Examples()
    settings = {"mean": (0.2,), "std": (0.3,), "n_classes": 10, "device": torch.device("cpu"), "seed": seed}
    return Images(examples, np.arange(len(examples)), **{**settings, **options})


def run(trial, *, model=None, batches=None, validate=None, **options):
    """Train a linear model on them."""
    torch.manual_seed(trial.seed)
    model = model or nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    groups = [{"params": list(model.parameters()), "lr": trial.learning_rate, "weight_decay": 0.0}]
    outcome = train(
        model,
        batches or images(),
        trial,
        parameter_groups=groups,
        validate=validate or (lambda _: (0.5, 1.0)),
        **options,
    )
    return outcome, model


def test_training_learns_what_can_be_learnt():
    """A linear model tells the ten pixels apart."""
    outcome, model = run(spec(epochs=60, learning_rate=0.05))
    batch, labels = next(images().once(64))

    assert outcome.status == "finished"
    assert (model(batch).argmax(1) == labels).float().mean() > 0.95
    assert outcome.curve[-1]["train_loss"] < outcome.curve[0]["train_loss"]


def test_steps_examples_and_flops_agree():
    """5 epochs of 64 examples in batches of 16 are 20 full steps."""
    outcome, _ = run(spec(), flops_per_example=7.0)

    assert (outcome.n_steps, outcome.n_examples) == (20, 320)
    assert outcome.curve[-1] == {**outcome.curve[-1], "step": 20, "epoch": 5.0, "train_flops": 2240.0}


def test_every_example_comes_once_per_epoch_in_full_batches():
    """Batches cross from one permutation into the next, so none is short and none is skipped."""
    seen = [labels for _, labels in images(Examples(50)).stream(20, 5)]

    assert [len(labels) for labels in seen] == [20] * 5
    assert torch.bincount(torch.cat(seen), minlength=10).tolist() == [10] * 10


def test_the_seed_decides_everything():
    """The same seed gives the same weights to the last bit, another seed others."""
    results = [run(spec(seed=seed), batches=images(seed=seed, augmentation="shift-flip"))[1] for seed in (3, 3, 4)]
    first, again, other = (model[1].weight for model in results)

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_images_read_on_demand_train_like_images_held_in_memory():
    """Where the pixels are does not change what is learnt."""
    held, streamed = (run(spec(), batches=images(Examples(in_memory=m)))[1][1].weight for m in (True, False))

    assert torch.equal(held, streamed)


def test_normalisation_is_the_textbook_one():
    """(pixel / 255 - mean) / std, checked in double precision."""
    examples = Examples()
    batch, _ = next(images(examples).once(64))

    np.testing.assert_allclose(batch.numpy(), (examples.pixels / 255.0 - 0.2) / 0.3, atol=1e-5)


def test_a_loss_that_is_not_finite_ends_the_trial_as_diverged():
    """With the step in the reason, and no further steps taken."""
    outcome, _ = run(spec(learning_rate=1e30, epochs=50, optimizer="sgd"))

    assert outcome.status == "diverged"
    assert outcome.n_steps < count_steps(spec(epochs=50))
    assert f"step {outcome.n_steps}" in outcome.reason
    assert all(math.isfinite(value) for point in outcome.curve for value in point.values())


def test_a_validation_loss_that_is_not_finite_is_divergence_too():
    """A curve never holds what JSON cannot."""
    outcome, _ = run(spec(), validate=lambda _: (0.9, math.nan))

    assert outcome.status == "diverged"
    assert outcome.curve == []


def test_a_time_limit_stops_the_trial():
    """A deadline in the past ends it at the first look."""
    outcome, _ = run(spec(), deadline=0.0)

    assert outcome.status == "stopped"
    assert outcome.n_steps == 1


def test_the_best_validation_pass_is_kept_when_it_is_to_choose():
    """The third of four passes is best: its weights are the ones handed back."""
    errors, weights = iter([0.4, 0.3, 0.1, 0.2]), []

    def validate(model):
        weights.append(model[1].weight.detach().clone())
        return next(errors), 1.0

    outcome, _ = run(spec(selection="best", validation_passes=4), validate=validate)

    assert outcome.best_point["validation_error"] == 0.1
    assert torch.equal(outcome.best_weights["1.weight"], weights[2])


def test_after_each_step_a_technique_may_hold_its_masks():
    """The hook hears every step, and how many there are."""
    heard = []
    run(spec(), after_step=lambda step, n_steps: heard.append((step, n_steps)))

    assert heard == [(step, 20) for step in range(1, 21)]


@pytest.mark.parametrize("schedule", ["cosine", "wsd", "constant"])
def test_the_rate_warms_up_to_its_peak(schedule):
    """A tenth of 100 steps rises in a straight line, and the peak is 1."""
    trial = spec(schedule=schedule, warmup_fraction=0.1)
    factors = [rate_factor(step, 100, trial) for step in range(1, 101)]

    assert factors[:4] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert max(factors) == pytest.approx(1.0, abs=0.01)


def test_cosine_agrees_with_torchs_own():
    """Without warm-up the factors are those of CosineAnnealingLR, one step later."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=11)
    expected = []
    for _ in range(10):
        optimizer.step()
        theirs.step()
        expected.append(theirs.get_last_lr()[0])

    ours = [rate_factor(step, 10, spec(warmup_fraction=0.0)) for step in range(1, 11)]

    assert ours == pytest.approx(expected)


def test_warmup_stable_decay_is_flat_and_then_straight():
    """Stable until the last fifth, then linear, small but above 0 at the last step."""
    factors = [rate_factor(step, 100, spec(schedule="wsd", warmup_fraction=0.0)) for step in range(1, 101)]

    assert set(factors[:80]) == {1.0}
    assert np.diff(factors[80:]) == pytest.approx(-0.05)
    assert factors[-1] == pytest.approx(0.05)


@pytest.mark.parametrize(("n_steps", "n_points"), [(1, 6), (3, 6), (100, 1), (100, 6), (5000, 8)])
def test_the_curve_ends_at_the_last_step(n_steps, n_points):
    """Points lie within the training, the last at its end, at most as many as asked."""
    steps = curve_steps(n_steps, n_points)

    assert max(steps) == n_steps
    assert min(steps) >= 1
    assert len(steps) <= n_points


@pytest.mark.parametrize(("name", "plain"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_the_fused_optimisers_take_the_steps_of_the_plain_ones(name, plain):
    """Ten steps on the same gradients end at the same weights."""
    weights = [nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2)]
    options = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {}
    ours = make_optimizer(spec(optimizer=name), [{"params": [weights[0]], "lr": 0.01, "weight_decay": 0.1}])
    theirs = plain([weights[1]], lr=0.01, weight_decay=0.1, **options)
    for step in range(10):
        for weight, optimizer in zip(weights, (ours, theirs), strict=True):
            weight.grad = torch.cos(weight.detach() * 3 + step)
            optimizer.step()

    torch.testing.assert_close(weights[0], weights[1])


def test_shifted_images_are_translations():
    """Each is the original moved by whole pixels, up to an eighth of the side, its border repeated."""
    originals = torch.arange(5 * 2 * 16 * 16, dtype=torch.float32).view(5, 2, 16, 16)
    moved = shifted(originals, torch.Generator().manual_seed(0))

    for before, after in zip(originals, moved, strict=True):
        padded = np.pad(before.numpy(), ((0, 0), (2, 2), (2, 2)), mode="edge")
        found = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if np.array_equal(padded[:, down : down + 16, right : right + 16], after.numpy())
        ]
        assert len(found) == 1
    assert not torch.equal(originals, moved)
