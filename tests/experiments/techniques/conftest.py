"""A machine whose cache the tests of techniques share, and trials of a moment on it."""

from types import SimpleNamespace

import pytest

from experiments.data import load_dataset
from experiments.device import Device
from experiments.ledger import Ledger
from experiments.machine import Machine
from experiments.spec import TrialSpec
from experiments.workbench import Workbench

WIDTHS = {"mlp": 8, "resnet": 2, "convnext": 2, "vit": 16, "mixer": 4}
SHORT = {
    "baseline": {},
    "distillation": {"teacher_scale": 2},
    "data-pruning": {"score_epochs": 1, "score_seeds": 2},
    "transfer": {"source_train": 100, "pretrain_epochs": 1},
    "meta-learning": {"source_train": 100, "shots": 4, "meta_steps": 3},
    "magnitude-pruning": {},
    "structured-pruning": {},
    "complexity-penalty": {},
    "quantization": {"mode": "aware"},
    "low-precision": {},
    "architecture-search": {"families": "mlp", "candidates": 2},
    "expert-features": {},
}


@pytest.fixture(scope="session")
def shared_machine(tmp_path_factory):
    """A processor; what one test prepares the next one finds, as on a node: take seeds of your own."""
    return Machine(device="cpu", cache_folder=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def brief_trial():
    """Return a function that describes a trial of a moment: 64 images in two steps."""

    def describe(technique, family="mlp", *, options=None, **changes):
        fields = {"dataset": "digits", "family": family, "width": WIDTHS[family], "depth": 1, "n_train": 64}
        given = {**SHORT[technique], **(options or {})}
        return TrialSpec(**{**fields, "epochs": 1, "technique": technique, "technique_options": given, **changes})

    return describe


@pytest.fixture(scope="session")
def mlp_flops():
    """Return functions that count one image's passes through one hidden layer by hand: (forward, training step)."""

    def forward(width, *, pixels=64, classes=10):
        return 2 * (pixels * width + width * classes)

    def step(width, *, classes=10):
        # The images themselves need no gradient.
        return 3 * forward(width, classes=classes) - 2 * 64 * width

    return forward, step


class NoMeter:
    """An account of energy that knows none."""

    def read(self, *, end=False):
        """Nothing, whether or not it is the last time."""
        del end
        return SimpleNamespace(total_joules=None)


@pytest.fixture
def bench():
    """Make a workbench on digits, for techniques whose model itself is looked at; nothing meters it."""

    def make(family="mlp", **changes):
        fields = {"dataset": "digits", "family": family, "width": 16, "depth": 1, "n_train": 100, "epochs": 2}
        spec = TrialSpec(**{**fields, "learning_rate": 0.01, **changes})
        device = Device("cpu", "a processor", 1, 1e9, "assumed")
        return Workbench(spec, Machine(device="cpu"), device, load_dataset("digits"), Ledger(NoMeter()))

    return make
