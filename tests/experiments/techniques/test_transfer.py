"""Transfer: where it learns first, what is taken along, what a frozen body costs, what is refused."""

import dataclasses

import numpy as np
import pytest
import torch

from experiments.data import describe_dataset
from experiments.models import build_model
from experiments.techniques import transfer
from experiments.techniques.heads import load_body
from experiments.techniques.source_data import resize_images
from experiments.trial import run_trial


def test_frozen_bodies_spend_less_and_count_as_parameters(brief_trial, shared_machine, mlp_flops):
    """Only the head's gradient is computed; the deployed model has all its weights."""
    forward, step = mlp_flops
    rows = [
        run_trial(brief_trial("transfer", options={"freeze": freeze}), shared_machine)["row"]
        for freeze in ("none", "body")
    ]

    assert rows[0]["n_params"] == rows[1]["n_params"]
    assert rows[0]["train_flops_pretrain"] == rows[1]["train_flops_pretrain"] == 96 * step(8)
    assert rows[0]["train_flops_train"] == 64 * step(8)
    assert rows[1]["train_flops_train"] == 64 * (forward(8) + 2 * 8 * 10)


def test_a_frozen_body_is_that_of_the_pre_training(brief_trial, shared_machine, monkeypatch):
    """Whatever the head then learns from, the body is the same, and no longer what it was before the source."""
    models = []

    def keep(workbench):
        trained = transfer.transfer(workbench)
        models.append((workbench.build_model().state_dict(), trained.model.state_dict()))
        return trained

    monkeypatch.setattr(transfer, "TRANSFER", dataclasses.replace(transfer.TRANSFER, run=keep))
    for n_train in (64, 96):
        record = run_trial(brief_trial("transfer", n_train=n_train, options={"freeze": "body"}), shared_machine)
        assert record["status"] == "finished", record["reason"]
    (initial, first), (_, second) = models

    assert not torch.equal(first["head.weight"], second["head.weight"])
    bodies = [name for name in first if name.endswith("weight") and not name.startswith("head.")]
    assert bodies
    for name in bodies:
        assert torch.equal(first[name], second[name])
        assert not torch.equal(first[name], initial[name])


def test_everything_but_the_head_is_taken_along():
    """Also from a model of other classes; buffers, such as running means, are part of the body."""
    shape = {"width": 4, "depth": 1, "height": 8, "image_width": 8, "channels": 1}
    source, target = (build_model("resnet", n_classes=classes, **shape) for classes in (7, 10))
    for tensor in source.state_dict().values():
        tensor.fill_(3)
    head = {name: tensor.clone() for name, tensor in target.state_dict().items() if name.startswith("head.")}
    load_body(target, source.state_dict())

    for name, tensor in target.state_dict().items():
        expected = head.get(name, torch.full_like(tensor, 3))
        assert torch.equal(tensor, expected), name


@pytest.mark.parametrize("n_channels", [1, 3])
def test_source_images_are_brought_to_the_trials_shape(n_channels):
    """A grey image of one value keeps it in every channel."""
    grey = resize_images(np.full((2, 1, 28, 28), 90, np.uint8), (n_channels, 8, 8))

    assert grey.shape == (2, n_channels, 8, 8)
    assert set(grey.flat) == {90}


def test_colours_become_their_brightness():
    """Green of 100 is a grey of 59: BT.601; halves of an image stay where they are when it shrinks."""
    colours = np.zeros((1, 3, 8, 8), np.uint8)
    colours[:, 1] = 100
    halves = np.zeros((1, 1, 16, 16), np.uint8)
    halves[..., 8:] = 200

    assert set(resize_images(colours, (1, 8, 8)).flat) == {59}
    assert resize_images(halves, (1, 4, 4))[0, 0, 0].tolist() == pytest.approx([0, 0, 200, 200], abs=30)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"source": "digits"}, "data set of the trial itself"),
        ({"source": "glyfs"}, "did you mean 'glyphs'"),
        ({"source_train": 3}, "source_train is 3"),
    ],
)
def test_an_impossible_source_is_refused_at_plan_time(options, words, brief_trial, shared_machine):
    """With the value and the remedy."""
    trial = brief_trial("transfer", options=options)

    with pytest.raises(ValueError, match=words):
        transfer.check(trial, describe_dataset(trial.dataset), shared_machine)
