"""The model families: built at every size they promise, refused with a reason where they cannot be."""

import math
import re
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from experiments import torchvision_mend
from experiments.models import FAMILIES, build_model, check_buildable, count_parameters

SMALL = {"width": 16, "depth": 2, "height": 8, "image_width": 8, "channels": 1, "n_classes": 10}


def small(family, **changes):
    """A model of digits' size."""
    return build_model(family, **{**SMALL, **changes})


@pytest.mark.parametrize("side", [8, 12, 28, 32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_classifies_small_images(family, side, channels):
    """Logits of the right shape, from 8 pixels on, grey or coloured."""
    model = small(family, height=side, image_width=side, channels=channels)

    logits = model(torch.randn(3, channels, side, side))

    assert logits.shape == (3, 10)


@pytest.mark.parametrize("side", [64, 96, 128, 224])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_classifies_large_images(family, side):
    """Up to ImageNet's size, on the meta device, where only shapes are computed."""
    with torch.device("meta"):
        model = small(family, height=side, image_width=side, channels=3, n_classes=1000)

        logits = model(torch.zeros(2, 3, side, side))

    assert logits.shape == (2, 1000)


@settings(max_examples=60, deadline=None)
@given(
    family=st.sampled_from(list(FAMILIES)),
    width=st.integers(1, 40),
    depth=st.integers(1, 3),
    height=st.integers(1, 70),
    image_width=st.integers(1, 70),
    channels=st.integers(1, 4),
    n_classes=st.integers(2, 12),
)
def test_what_the_plan_lets_through_can_be_built_and_run(family, **size):
    """The rules that cost nothing agree with really building the model."""
    shape = (2, size["channels"], size["height"], size["image_width"])
    try:
        check_buildable(family, **size)
    except ValueError:
        with pytest.raises(ValueError, match="cannot be built"):
            build_model(family, **size)
        return
    with torch.device("meta"):
        assert build_model(family, **size)(torch.zeros(shape)).shape == (2, size["n_classes"])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_one_can_be_trained_on(family):
    """The last map of an 8 x 8 image keeps more than a pixel, so batch norm has something to average."""
    model = small(family)

    nn.functional.cross_entropy(model(torch.randn(1, 1, 8, 8)), torch.tensor([3])).backward()

    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fresh_model_guesses(family):
    """Its loss is the logarithm of the number of classes, at any width."""
    logits = small(family, n_classes=7)(torch.randn(5, 1, 8, 8))

    loss = nn.functional.cross_entropy(logits, torch.arange(5))

    assert loss.item() == pytest.approx(math.log(7), rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_drawn_by_torch_s_seed(family):
    """The same seed gives the same model, another one another."""
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(nn.utils.parameters_to_vector(small(family).parameters()))

    assert torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_shrink_with_the_square_root_of_their_fan_in(family):
    """What muP starts from; the fan-in is counted here from the layers' own attributes."""
    for module in small(family, width=64).modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
        elif isinstance(module, nn.Linear) and module.out_features != 10:
            fan_in = module.in_features
        else:
            continue
        error = 5 / math.sqrt(2 * module.weight.numel())
        assert module.weight.std().item() * math.sqrt(fan_in) == pytest.approx(1, abs=error)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_mode_adds_no_noise(family):
    """Neither dropout nor stochastic depth: one batch gives the same logits twice."""
    model = small(family)
    nn.init.normal_(list(model.modules())[-1].weight)
    images = torch.randn(4, 1, 8, 8)

    assert torch.equal(model(images), model(images))


@pytest.mark.parametrize("side", [8, 28])
@pytest.mark.parametrize("family", ["resnet", "convnext"])
def test_no_kernel_tap_is_dead(family, side):
    """Every weight of every convolution has a gradient: none meets padding alone."""
    model = small(family, width=4, depth=1, height=side, image_width=side)
    nn.init.normal_(model.head.weight)

    nn.functional.cross_entropy(model(torch.randn(16, 1, side, side)), torch.arange(16) % 10).backward()

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            assert (module.weight.grad.abs().amax(dim=(0, 1)) > 0).all()


def test_parameters_of_an_mlp_are_those_of_its_layers():
    """64 pixels, two hidden layers of 16 with their norms, 10 classes, by hand."""
    layers = (64 * 16 + 16) + 2 * 16 + (16 * 16 + 16) + 2 * 16 + (16 * 10 + 10)

    assert count_parameters(small("mlp")) == layers


def test_parameters_of_a_vit_are_those_of_its_layers():
    """Patches of 2 x 2, 16 positions, two blocks, a norm and a head, by hand."""
    w = 32
    block = (3 * w * w + 3 * w) + (w * w + w) + (4 * w * w + 4 * w) + (4 * w * w + w) + 4 * w

    expected = (4 * w + w) + 16 * w + 2 * block + 2 * w + (10 * w + 10)

    assert count_parameters(small("vit", width=32)) == expected


def test_shared_parameters_count_once_and_frozen_ones_do_not():
    """What an optimiser would move."""
    shared = nn.Linear(3, 3, bias=False)
    frozen = nn.Linear(2, 2)
    frozen.requires_grad_(False)

    assert count_parameters(nn.Sequential(shared, shared, frozen)) == 9


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("vit", {"width": 24}, "width 24 is no multiple of 16, the size of its attention heads"),
        ("resnet", {"height": 6}, "images of 6 x 8 pixels are too small, it needs 8 x 8; enlarge them or take mlp"),
        ("mixer", {"height": 29}, "images of 29 x 8 pixels cannot be cut into square patches"),
        ("mlp", {"width": 1}, "at width 1 leaves nothing; take at least 2"),
        ("mlp", {"depth": 0}, "depth is 0, but it is a whole number from 1 on"),
        ("mlp", {"width": 8.0}, "width is 8.0, but it is a whole number from 1 on"),
        ("mlp", {"n_classes": 1}, "n_classes is 1, but it is a whole number from 2 on"),
        ("restnet", {}, "there is no model family 'restnet'; it is one of resnet, convnext, vit, mixer, mlp, or "),
        ("restnet", {}, "did you mean 'resnet'?"),
        ("absent_module:build", {}, "'absent_module:build' cannot be imported"),
        ("math:tau_of_two", {}, "module:function on the Python path"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_reason(family, changes, message):
    """The sentence names the value and the remedy, at plan time and when building alike."""
    for attempt in (check_buildable, build_model):
        with pytest.raises(ValueError, match=re.escape(message)):
            attempt(family, **{**SMALL, **changes})


@pytest.fixture
def own_models(tmp_path, monkeypatch):
    """A user's module with one builder that works and three that do not."""
    (tmp_path / "own_models.py").write_text(
        "from torch import nn\n"
        "def good(*, width, depth, height, image_width, channels, n_classes):\n"
        "    flat = channels * height * image_width\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(flat, width), nn.ReLU(), nn.Linear(width, n_classes))\n"
        "def picky(*, width, **rest):\n"
        "    raise ValueError('only even widths')\n"
        "def wrong_logits(**size):\n"
        "    return nn.Flatten()\n"
        "def no_module(**size):\n"
        "    return 3\n"
        "def wrong_input(**size):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(7, 10))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_models", None)


@pytest.mark.usefixtures("own_models")
def test_a_user_s_own_builder_is_called_with_the_same_keywords():
    """It is named by module and function and needs no registration."""
    check_buildable("own_models:good", **SMALL)

    assert small("own_models:good")(torch.randn(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.usefixtures("own_models")
@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("picky", "own_models:picky cannot build width=16, depth=2, height=8, .* only even widths"),
        ("wrong_logits", r"turns 2 images into \(2, 64\), not into logits of shape \(2, 10\)"),
        ("no_module", "returns a int; it must return a torch.nn.Module"),
        ("wrong_input", "fails on images of 1 x 8 x 8"),
        ("missing", "cannot be imported"),
    ],
)
def test_a_user_s_builder_that_does_not_fit_is_refused_at_plan_time(function, message):
    """It is tried on the meta device, and what it says is passed on."""
    with pytest.raises(ValueError, match=message):
        check_buildable(f"own_models:{function}", **SMALL)


def test_planning_needs_no_torch():
    """Asking whether a family can be built imports neither torch nor timm."""
    program = (
        "import sys; from experiments.models import check_buildable\n"
        f"[check_buildable(family, **{SMALL}) for family in {list(FAMILIES)}]\n"
        "sys.exit(bool({'torch', 'timm', 'torchvision'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def test_a_whole_torchvision_is_left_alone(monkeypatch):
    """Nothing is defined where torchvision's own extension loads."""
    monkeypatch.setattr(torchvision_mend, "_definitions", [])
    monkeypatch.setattr(torchvision_mend, "_extension_loads", lambda: True)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)

    assert torchvision_mend.mend_torchvision() is False
    assert torchvision_mend._definitions == []


def test_mending_makes_torchvision_importable_and_may_be_repeated():
    """In a process of its own, whichever build of torchvision is installed."""
    program = (
        "from experiments.torchvision_mend import mend_torchvision\n"
        "assert mend_torchvision() == mend_torchvision()\n"
        "import torchvision.transforms, timm"
    )

    assert subprocess.run([sys.executable, "-c", program], timeout=120).returncode == 0
