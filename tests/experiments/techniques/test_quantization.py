"""The int8 model is an int8 model, and its error and size are its own."""

import json

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from experiments.data import describe_dataset
from experiments.machine import Machine
from experiments.spec import TrialSpec
from experiments.techniques import quantization
from experiments.techniques.eight_bit import UnfoldedConvolution, convert_to_int8, round_while_training, stored_bytes
from experiments.trial import run_trial


def spec(**changes):
    """A trial of a second."""
    fields = {"dataset": "digits", "family": "mlp", "width": 16, "depth": 1, "n_train": 100, "epochs": 4}
    return TrialSpec(**{**fields, "technique": "quantization", "learning_rate": 0.01, **changes})


@pytest.mark.parametrize("mode", ["after", "aware"])
@pytest.mark.parametrize("family", ["mlp", "resnet", "convnext", "vit", "mixer"])
def test_every_family_becomes_smaller_and_costs_as_much(family, mode):
    """As many parameters and FLOP as plain training, under two names; fewer bytes; a record of plain data."""
    width = 16 if family == "vit" else 8
    size = {"family": family, "width": width, "epochs": 1, "base_width": width}
    plain = run_trial(spec(technique="baseline", **size))["row"]
    record = run_trial(spec(technique_options={"mode": mode}, **size))
    row = record["row"]

    assert record["status"] == "finished", record["reason"]
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (row["n_params"], row["inference_flops"]) == (plain["n_params"], plain["inference_flops"])
    assert row["model_bytes"] < 0.7 * plain["model_bytes"]
    assert row["train_flops"] == row["train_flops_train"] + row["train_flops_quantize"]
    assert row["train_flops"] == pytest.approx(plain["train_flops"], rel=0.35)
    assert (row["train_flops_quantize"] > 0) == (mode == "aware")


def test_the_smallest_width_is_quantised_beside_a_wider_base():
    """With one channel some layers cannot be 8-bit that can be at the base width."""
    record = run_trial(spec(technique_options={"mode": "aware"}, family="resnet", width=1, base_width=8))

    assert record["status"] == "finished", record["reason"]
    assert record["row"]["train_flops_quantize"] > 0


def test_the_products_run_as_int8():
    """The profiler sees integer products and no floating-point one; the stored weights are int8."""
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).eval()
    convert_to_int8(model)
    with profile(activities=[ProfilerActivity.CPU]) as seen, torch.no_grad():
        model(torch.randn(64, 64))
    names = {event.key for event in seen.key_averages()}

    assert "aten::_int_mm" in names
    assert not names & {"aten::mm", "aten::addmm", "aten::matmul", "aten::bmm"}
    assert [layer.weight.qdata.dtype for layer in (model[0], model[2])] == [torch.int8] * 2


def test_bytes_are_one_per_weight_and_four_per_row_and_bias():
    """By hand: 64 x 32 int8 weights, 32 scales and 32 biases of four bytes; zero points, if kept, one byte each."""
    model = nn.Sequential(nn.Linear(64, 32))
    convert_to_int8(model)

    assert stored_bytes(model) - (64 * 32 + 4 * 32 + 4 * 32) in (0, 32)


def test_an_unfolded_convolution_is_the_convolution():
    """On odd sizes, strides, dilations and without a bias."""
    torch.manual_seed(0)
    for stride, padding, dilation, bias in ((1, 1, 1, True), (2, 0, 1, False), ((2, 1), (0, 2), 2, True)):
        plain = nn.Conv2d(3, 5, 3, stride=stride, padding=padding, dilation=dilation, bias=bias)
        images = torch.randn(2, 3, 9, 11)

        assert torch.allclose(UnfoldedConvolution(plain)(images), plain(images), atol=1e-5)


def test_training_rounds_as_the_deployed_model_does():
    """The model in training and the int8 model give the same logits; gradients pass."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 4))
    images = torch.randn(7, 20)
    plain = model(images)
    round_while_training(model)
    rounded = model(images)
    rounded.square().sum().backward()

    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    assert not torch.equal(rounded, plain)
    convert_to_int8(model)
    assert torch.allclose(model(images), rounded, atol=1e-5)


def test_what_cannot_be_quantised_is_refused():
    """With the reason and what would work."""
    info = describe_dataset("digits", data_folder=None)
    with pytest.raises(ValueError, match="set precision: fp32"):
        quantization.check(spec(precision="bf16"), info, Machine(device="cpu"))
    with pytest.raises(ValueError, match=r"set execution\.device: cpu"):
        quantization.check(spec(), info, Machine(device="cuda"))


def test_divergence_and_the_time_limit_pass_through():
    """A training that ended badly is not quantised and has no error."""
    diverged = run_trial(spec(optimizer="sgd", learning_rate=1e20))["row"]
    stopped = run_trial(spec(epochs=3000), Machine(time_limit_seconds=1.0))["row"]

    assert (diverged["status"], stopped["status"]) == ("diverged", "stopped")
    assert "test_error" not in diverged
