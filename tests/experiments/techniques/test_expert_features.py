"""Fixed features: what they see, what they cost, and a linear model on them."""

import json
import math

import numpy as np
import pytest
import torch

from experiments.data import describe_dataset
from experiments.machine import Machine
from experiments.plan import plan_trials
from experiments.spec import TrialSpec
from experiments.sweep import parse_sweep
from experiments.techniques import expert_features
from experiments.techniques.fixed_features import OrientedGradients, Scattering, Standardise
from experiments.trial import run_trial


def spec(**changes):
    """A trial of a second."""
    fields = {"dataset": "digits", "family": "mlp", "width": 16, "depth": 1, "n_train": 200, "epochs": 10}
    return TrialSpec(**{**fields, "technique": "expert-features", "learning_rate": 0.01, **changes})


@pytest.mark.parametrize(("features", "flops"), [("oriented-gradients", 2 * 64 * 2 * 9), ("scattering", None)])
def test_a_trial_charges_each_image_once(features, flops):
    """The phase is images x the products of the kernels, by hand; the row counts the linear model's parameters."""
    record = run_trial(spec(technique_options={"features": features}))
    row = record["row"]
    # Six angles, two parts: at both scales on the image, and the coarser on the six finer moduli.
    by_hand = flops or 2 * 64 * 12 * (49 + 169 + 6 * 169)
    n_features = 324 if features == "oriented-gradients" else 196

    assert record["status"] == "finished", record["reason"]
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert row["train_flops_features"] == 200 * by_hand
    assert row["train_flops"] == row["train_flops_features"] + row["train_flops_train"]
    assert row["n_params"] == 10 * n_features + 10
    assert row["inference_flops"] == by_hand + 2 * 10 * n_features
    assert row["test_error"] < 0.2


@pytest.mark.parametrize("features", ["oriented-gradients", "scattering"])
def test_the_plan_counts_the_features_and_no_network(features):
    """To the last FLOP, whatever the width of the family's network that is not trained."""
    technique = [{"expert-features": {"features": features}}]
    grid = {"width": [8, 64], "depth": 1, "n_train": 200, "technique": technique}
    planned = plan_trials(
        parse_sweep({"name": "x", "family": "mlp", "grid": grid, "training": {"epochs": 2}}), Machine()
    )
    spent = run_trial(planned[0].spec, Machine())["row"]["train_flops"]

    assert [trial.flops for trial in planned] == [spent, spent]


def test_oriented_gradients_agree_with_plain_loops():
    """Pixel by pixel and vote by vote, with numpy alone."""
    image = np.random.default_rng(0).normal(size=(8, 10))
    found = OrientedGradients(height=8, width=10, channels=1)(torch.from_numpy(image).float()[None, None])

    assert found.shape == (1, 36 * 3 * 4)
    assert np.allclose(found[0].numpy(), _looped(image), atol=1e-4)


def _looped(image):
    padded = np.pad(image, 1, mode="edge")
    height, width = image.shape
    cells = np.zeros((9, height // 2, width // 2))
    for row in range(height):
        for column in range(width):
            right = (padded[row + 1, column + 2] - padded[row + 1, column]) / 2
            down = (padded[row + 2, column + 1] - padded[row, column + 1]) / 2
            place = (math.atan2(down, right) % math.pi) / math.pi * 9
            share = place - math.floor(place)
            size = math.hypot(right, down) / 4
            cells[math.floor(place) % 9, row // 2, column // 2] += (1 - share) * size
            cells[(math.floor(place) + 1) % 9, row // 2, column // 2] += share * size
    blocks = np.stack(
        [cells[:, row : row + 2, column : column + 2].ravel() for row in range(height // 2 - 1)
         for column in range(width // 2 - 1)], axis=1,
    )  # fmt: skip
    for _ in range(2):
        blocks = np.minimum(blocks / (np.linalg.norm(blocks, axis=0) + 1e-3), 0.2)
    return blocks.ravel()


def test_wavelets_answer_to_their_own_direction():
    """Stripes across the horizontal excite the wavelet along it most, at the scale of their period; a constant none."""
    scattering = Scattering(height=32, width=32, channels=1)
    stripes = torch.cos(0.75 * math.pi * torch.arange(32.0)).expand(32, 32)[None, None]
    first = scattering(stripes).view(1 + 12 + 36, 8, 8)[1:13, 2:6, 2:6].mean(dim=(1, 2))
    constant = scattering(torch.ones(1, 1, 32, 32)).view(49, 8, 8)

    assert int(first.argmax()) == 0
    assert constant[1:].abs().max() < 1e-4
    assert torch.allclose(constant[0], torch.ones(8, 8))


@pytest.mark.parametrize("kind", [OrientedGradients, Scattering])
def test_their_number_is_known_beforehand(kind):
    """For colours and sizes that no cell divides."""
    features = kind(height=33, width=30, channels=3)

    assert features(torch.randn(2, 3, 33, 30)).shape == (2, features.n_features)


def test_standardised_features_have_mean_0_and_deviation_1():
    """A feature that never varies is 0 and nothing is not a number."""
    values = torch.randn(50, 3) * torch.tensor([1.0, 100.0, 0.0]) + 7
    done = Standardise(values)(values)

    assert torch.allclose(done.mean(0), torch.zeros(3), atol=1e-4)
    assert torch.allclose(done.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-4)


def test_augmentation_is_refused():
    """Features are computed once."""
    with pytest.raises(ValueError, match="set augmentation: none"):
        expert_features.check(spec(augmentation="shift"), describe_dataset("digits", data_folder=None), Machine())


def test_choosing_the_best_pass_is_charged_and_a_limit_stops_it():
    """With the features of the validation images, once."""
    best = run_trial(spec(selection="best"))["row"]
    stopped = run_trial(spec(epochs=100000), Machine(time_limit_seconds=0.5))["row"]

    assert best["train_flops_validate"] == 250 * (2 * 64 * 2 * 9 + 6 * 2 * 10 * 324)
    assert stopped["status"] == "stopped"


@pytest.mark.parametrize("features", ["oriented-gradients", "scattering"])
def test_in_bf16_the_deployed_features_are_those_that_were_learnt_from(features, bench):
    """Trained on features in fp32, the model is given the same ones under autocast, which would round them."""
    work = bench(precision="bf16", technique="expert-features", technique_options={"features": features})
    extractor, *_ = expert_features.expert_features(work).model
    images, _ = next(work.train_images.once(50))
    learnt_from = expert_features.FEATURES[features](height=8, width=8, channels=1)(images)

    with torch.autocast("cpu", torch.bfloat16):
        deployed = extractor(images)
        rounded = extractor.inner(images)

    assert torch.equal(deployed, learnt_from)
    assert not torch.equal(rounded.float(), learnt_from)
