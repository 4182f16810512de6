"""A kept model is the trial's own: built again from a file of weights, it makes the errors that the record says."""

import io
import pickle

import numpy as np
import pytest
import torch

from cluster.models import model_path
from experiments.data import load_dataset
from experiments.kept_models import load_model
from experiments.machine import Machine
from experiments.spec import TrialSpec
from experiments.sweep import parse_sweep
from experiments.trial import run_trial

KEPT = [
    ("baseline", {}, {}),
    ("baseline", {}, {"family": "resnet", "width": 2, "base_width": 4, "precision": "bf16"}),
    ("magnitude-pruning", {"density": 0.3}, {}),
    ("complexity-penalty", {"penalty": "l1", "oversize": 2}, {}),
    ("architecture-search", {"families": "mlp,vit", "candidates": 2}, {"width": 24}),
    ("distillation", {"teacher_scale": 2}, {"selection": "best"}),
]
REFUSED = [
    ("structured-pruning", {}, "units are taken out"),
    ("complexity-penalty", {"penalty": "group-lasso"}, "units out"),
    ("quantization", {}, "int8"),
    ("expert-features", {}, "fixed features"),
]


def spec(technique="baseline", options=None, **changes):
    """Some seconds of a small network: far better than guessing, far from perfect."""
    fields = {"dataset": "digits", "family": "mlp", "width": 8, "depth": 1, "n_train": 200, "epochs": 4}
    return TrialSpec(**{**fields, "technique": technique, "technique_options": options or {}, **changes})


def keep(trial, folder, machine=None):
    """Run a trial and keep its model as a sweep does."""
    kept = []
    record = run_trial(trial, machine or Machine(device="cpu"), keep_model=kept.append)
    path = model_path(folder, trial.trial_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    for content in kept:
        path.write_bytes(content)
    return record


@pytest.mark.parametrize(("technique", "options", "changes"), KEPT)
def test_a_loaded_model_makes_the_errors_of_its_record_on_the_raw_test_images(tmp_path, technique, options, changes):
    """Counted here, image by image: not by the program's own evaluation."""
    trial = spec(technique, options, **changes)
    record = keep(trial, tmp_path, Machine(device="cpu", cache_folder=tmp_path / "cache"))
    test = load_dataset("digits").test

    model = load_model(tmp_path, trial.trial_id)
    logits = model.predict(test.read(np.arange(len(test))))

    assert record["status"] == "finished", record["reason"]
    assert 0 < record["row"]["test_error"] < 0.8
    assert np.mean(logits.argmax(1) != test.labels) == pytest.approx(record["row"]["test_error"], abs=0)
    likelihood = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    loss = -likelihood[np.arange(len(test)), test.labels].mean()
    assert loss == pytest.approx(record["row"]["test_loss"], rel=1e-5)
    assert model.spec == trial
    assert not model.network.training


def test_keeping_and_loading_a_model_change_no_result_and_no_random_draw(tmp_path):
    """The record is the one of a trial that keeps nothing, and the caller's generator is where it was."""
    trial = spec()
    record = keep(trial, tmp_path)
    plain = run_trial(trial, Machine(device="cpu"))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)

    load_model(tmp_path, trial.trial_id)

    assert torch.equal(torch.rand(3), expected)
    assert record["row"]["test_loss"] == plain["row"]["test_loss"]
    assert record["curve"] == plain["curve"]


def test_images_that_are_no_bytes_are_refused(tmp_path):
    """Shares from 0 to 1 would all be cut down to 0, and the model would answer."""
    keep(spec(epochs=1), tmp_path)

    with pytest.raises(ValueError, match="the images are float32, but a kept model takes bytes"):
        load_model(tmp_path, spec(epochs=1).trial_id).predict(np.ones((2, 1, 8, 8), np.float32))


def test_a_trial_that_diverged_keeps_no_model(tmp_path):
    """Weights that are not numbers are nobody's model."""
    trial = spec(optimizer="sgd", learning_rate=1e20)

    assert keep(trial, tmp_path)["status"] == "diverged"
    with pytest.raises(ValueError, match=r"keeps no model of trial .* tracking\.models"):
        load_model(tmp_path, trial.trial_id)


class Evil:
    """What a pickle can do."""

    def __reduce__(self):
        """Run something when it is read."""
        return (pytest.fail, ("a pickle was executed",))


def saved(value):
    """What torch.save writes of any object."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [saved({"version": 1, "spec": Evil()}), pickle.dumps(Evil(), protocol=2), b"no file of torch's", b""],
    ids=["zip", "pickle", "text", "empty"],
)
def test_a_file_that_is_no_model_is_refused_and_never_executed(tmp_path, content):
    """One sentence names the file."""
    path = model_path(tmp_path, "0" * 16)
    path.parent.mkdir()
    path.write_bytes(content)

    with pytest.raises(ValueError, match=f"{path.name} is no model that can be read"):
        load_model(tmp_path, "0" * 16)


def test_a_model_under_another_trials_name_is_refused(tmp_path):
    """The settings in the file say whose it is."""
    trial = spec(epochs=1)
    keep(trial, tmp_path)
    model_path(tmp_path, trial.trial_id).rename(model_path(tmp_path, "0" * 16))

    with pytest.raises(ValueError, match=f"holds the model of trial {trial.trial_id}"):
        load_model(tmp_path, "0" * 16)


def own_technique(workbench):
    """A network that its family does not build."""
    trained = workbench.train(workbench.build_model(), phase="train")
    trained.model.register_buffer("more", torch.zeros(2))
    return trained


@pytest.mark.parametrize(("technique", "options", "reason"), [*REFUSED, (f"{__name__}:own_technique", {}, "keep_as_b")])
def test_a_technique_whose_model_cannot_be_built_again_is_refused_when_the_sweep_is_planned(technique, options, reason):
    """And not when models are not asked for."""
    from experiments.plan import check_sweep

    point = {"width": 8, "depth": 1, "n_train": 100, "technique": [{technique: options}]}
    content = {"name": "kept", "family": "mlp", "points": [point]}

    check_sweep(parse_sweep(content), Machine(device="cpu"))
    with pytest.raises(ValueError, match=rf"tracking\.models is 'all', but .*{reason}.*set tracking\.models: none"):
        check_sweep(parse_sweep({**content, "tracking": {"models": "all"}}), Machine(device="cpu"))


def test_a_network_that_is_not_what_its_family_builds_is_not_kept(tmp_path):
    """A technique that says otherwise is found out: what was kept could not be loaded."""
    record = keep(spec(f"{__name__}:own_technique"), tmp_path)

    assert record["status"] == "failed"
    assert "more differs" in record["reason"].splitlines()[-1]
    assert not list((tmp_path / "models").glob("*.pt"))


def test_an_unknown_way_of_keeping_models_is_refused_with_the_ways_there_are():
    """As any other wrong value of a sweep file."""
    with pytest.raises(ValueError, match=r"tracking\.models.*'none', 'best' or 'all'"):
        parse_sweep({"name": "kept", "grid": {"width": 8}, "tracking": {"models": "some"}})
