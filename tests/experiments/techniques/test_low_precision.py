"""Training in bf16 where the arithmetic is there, and a refusal where it is not."""

import dataclasses

import pytest

from experiments.data import describe_dataset
from experiments.device import Device
from experiments.machine import Machine
from experiments.spec import TrialSpec
from experiments.techniques import low_precision
from experiments.trial import run_trial


def spec(**changes):
    """A trial of a second."""
    fields = {"dataset": "digits", "family": "mlp", "width": 16, "depth": 1, "n_train": 100, "epochs": 3}
    return TrialSpec(**{**fields, "learning_rate": 0.01, **changes})


@pytest.mark.parametrize("family", ["mlp", "resnet", "convnext", "vit", "mixer"])
def test_it_is_the_trial_in_bf16(family, monkeypatch):
    """The same error and loss as a trial that asks for bf16, other than in fp32, for the same FLOP."""
    monkeypatch.setattr(low_precision, "processor_flags", lambda: frozenset({"avx512_bf16"}))
    size = {"family": family, "epochs": 1, "base_width": 16}
    low, asked, plain = (
        run_trial(spec(**size, **changes))["row"]
        for changes in ({"technique": "low-precision"}, {"precision": "bf16"}, {})
    )

    assert low["status"] == "finished", low["reason"]
    for column in ("test_error", "test_loss", "shift_error", "train_flops", "n_params"):
        assert low[column] == asked[column]
    assert low["test_loss"] != plain["test_loss"]
    assert low["peak_flops_per_second"] == asked["peak_flops_per_second"]


def test_the_peak_rate_is_that_of_all_processes_of_a_trial(bench, monkeypatch):
    """Two processes with two threads each have twice the rate of two threads: utilisation is over all of them."""

    def find(kind, *, threads, precision, cache_folder):
        del kind, cache_folder
        return Device("cpu", "a processor", threads, {"bf16": 3e9}[precision] * threads, "assumed")

    monkeypatch.setattr(low_precision, "find_device", find)
    alone = bench()
    together = dataclasses.replace(alone, machine=Machine(device="cpu", threads=4, data_parallel=2))

    assert low_precision.low_precision(together).extra["peak_flops_per_second"] == 2 * 2 * 3e9


def test_the_flags_are_read_from_the_file(tmp_path):
    """From the line of x86 kernels; nothing where there is no file."""
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16\n", encoding="utf-8")

    assert low_precision.processor_flags(tmp_path / "cpuinfo") == {"fpu", "avx512f", "avx512_bf16"}
    assert low_precision.processor_flags(tmp_path / "nothing") == frozenset()


def test_a_machine_without_the_arithmetic_is_refused(monkeypatch):
    """At plan time, with what would work; so is a trial that is in bf16 anyway."""
    info = describe_dataset("digits", data_folder=None)
    monkeypatch.setattr(low_precision, "processor_flags", lambda: frozenset({"avx512f"}))
    with pytest.raises(ValueError, match="AMX or AVX-512"):
        low_precision.check(spec(), info, Machine(device="cpu"))
    low_precision.check(spec(), info, Machine(device="cuda"))  # planned here, and asked again where the GPU is
    with pytest.raises(ValueError, match="set precision: fp32"):
        low_precision.check(spec(precision="bf16"), info, Machine(device="cpu"))
