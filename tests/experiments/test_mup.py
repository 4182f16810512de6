"""The learning rate's transfer across width: the rule's table, its groups, and the coordinate check."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from experiments.models import FAMILIES, build_model
from experiments.mup import Multiplier, parameter_groups, rescale_initialisation, scale_for_width

SIZE = {"depth": 1, "height": 8, "image_width": 8, "channels": 1, "n_classes": 10}
OPTIMIZERS = ["adamw", "sgd"]


def model_and_base(family, *, width, base_width=16, **changes):
    """A model, and its base on the meta device."""
    size = {**SIZE, **changes}
    with torch.device("meta"):
        base = build_model(family, width=base_width, **size)
    return build_model(family, width=width, **size), base


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        # Yang et al. 2022, table 3, for a width four times the base's.
        (
            "adamw",
            {
                "hidden0.0.weight": Multiplier("input", 1, 1),
                "hidden0.0.bias": Multiplier("input", 1, 1),
                "hidden0.1.weight": Multiplier("input", 1, 1),
                "hidden1.0.weight": Multiplier("hidden", 1 / 4, 1),
                "head.weight": Multiplier("output", 1 / 4, 1 / 2),
                "head.bias": Multiplier("fixed", 1, 1),
            },
        ),
        (
            "sgd",
            {
                "hidden0.0.weight": Multiplier("input", 4, 1),
                "hidden0.0.bias": Multiplier("input", 4, 1),
                "hidden0.1.weight": Multiplier("input", 4, 1),
                "hidden1.0.weight": Multiplier("hidden", 1, 1),
                "head.weight": Multiplier("output", 1 / 4, 1 / 2),
                "head.bias": Multiplier("fixed", 1, 1),
            },
        ),
    ],
)
def test_multipliers_are_those_of_the_published_table(optimizer, expected):
    """Input, hidden and output weights of an mlp, its biases and norms."""
    model, base = model_and_base("mlp", width=64, depth=2)

    multipliers = scale_for_width(model, base, optimizer=optimizer)

    assert {name: multipliers[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("family", "name", "role"),
    [
        ("convnext", "stages.1.blocks.0.conv_dw.weight", "input"),
        ("convnext", "stages.1.downsample.1.weight", "hidden"),
        ("resnet", "stem.0.weight", "input"),
        ("resnet", "stages.2.0.conv1.weight", "hidden"),
        ("resnet", "stages.2.0.bn1.weight", "input"),
        ("vit", "pos_embed", "input"),
        ("vit", "blocks.0.attn.qkv.weight", "hidden"),
        ("mixer", "blocks.0.mlp_tokens.fc1.weight", "fixed"),
        ("mixer", "blocks.0.mlp_channels.fc2.weight", "hidden"),
        ("mixer", "head.weight", "output"),
    ],
)
def test_a_weight_s_role_follows_from_the_dimensions_that_grow(family, name, role):
    """A depthwise kernel has one input whatever the width; layers across patches do not grow at all."""
    multipliers = scale_for_width(*model_and_base(family, width=32))

    assert multipliers[name].role == role
    assert multipliers[name].lr_scale == (0.5 if role in ("hidden", "output") else 1)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_at_the_base_width_nothing_changes(family, optimizer):
    """The learning rate means itself there."""
    model, base = model_and_base(family, width=16)
    before = nn.utils.parameters_to_vector(model.parameters()).clone()

    rescale_initialisation(model, base)

    multipliers = scale_for_width(model, base, optimizer=optimizer).values()
    assert all((one.lr_scale, one.init_scale) == (1, 1) for one in multipliers)
    assert torch.equal(nn.utils.parameters_to_vector(model.parameters()), before)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_base_with_weights_and_one_without_give_the_same(family):
    """Only shapes are read."""
    model, base = model_and_base(family, width=48)

    assert scale_for_width(model, base) == scale_for_width(model, build_model(family, width=16, **SIZE))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_groups_hold_every_trainable_parameter_once(family, optimizer):
    """And are what torch's optimisers take; a frozen parameter is in none."""
    model, base = model_and_base(family, width=32)
    frozen = next(model.parameters()).requires_grad_(False)

    groups = parameter_groups(model, base, optimizer=optimizer, learning_rate=0.1, weight_decay=0.01)

    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    trainable = [id(parameter) for parameter in model.parameters() if parameter is not frozen]
    assert sorted(grouped) == sorted(trainable)
    {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[optimizer](groups)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("width", [16, 32, 128])
def test_the_decay_of_a_step_is_the_same_at_every_width(width, optimizer):
    """Rate times coefficient, which is what torch takes off a weight; vectors and positions keep theirs."""
    model, base = model_and_base("vit", width=width)
    names = {id(parameter): name for name, parameter in model.named_parameters()}

    groups = parameter_groups(model, base, optimizer=optimizer, learning_rate=0.1, weight_decay=0.01)

    for group in groups:
        assert group["lr"] == pytest.approx(0.1 * group["lr_scale"])
        for parameter in group["params"]:
            decays = parameter.ndim >= 2 and names[id(parameter)] != "pos_embed"
            assert group["lr"] * group["weight_decay"] == pytest.approx(0.001 if decays else 0)


def test_first_values_of_an_output_layer_shrink_with_its_fan_in():
    """From fan_in ** -0.5, as torch draws them, to 1 / fan_in: at four times the width half of it."""
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(8, 64), nn.Linear(64, 64), nn.Linear(64, 500))
    model = nn.Sequential(nn.Linear(8, 256), nn.Linear(256, 256), nn.Linear(256, 500))
    drawn = [layer.weight.detach().clone() for layer in model]

    rescale_initialisation(model, base)

    assert torch.equal(model[0].weight, drawn[0])
    assert torch.equal(model[1].weight, drawn[1])
    assert torch.equal(model[2].weight, drawn[2] / 2)
    assert (model[2].weight.std() / base[2].weight.std()).item() == pytest.approx(1 / 4, rel=0.02)


def test_first_values_that_do_not_shrink_with_width_are_refused():
    """The rule for the learning rate would not hold for them."""
    base, model = nn.Linear(16, 16, bias=False), nn.Linear(64, 64, bias=False)
    for layer in (base, model):
        nn.init.normal_(layer.weight, std=0.02)

    with pytest.raises(ValueError, match=r"of 'weight' is 0\.0\d+ at the base width .* as torch.nn.Linear does"):
        rescale_initialisation(model, base)


@pytest.mark.parametrize("width", [2, 4, 64])
@pytest.mark.parametrize("family", ["resnet", "convnext", "mixer", "mlp"])
def test_the_families_first_values_pass_at_every_width(family, width):
    """Also where a layer holds a handful of weights."""
    torch.manual_seed(0)
    base = build_model(family, width=16, **SIZE)

    rescale_initialisation(build_model(family, width=width, **SIZE), base)


class Raw(nn.Module):
    """A bare weight, whose input side nobody can tell."""

    def __init__(self, *shape):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(*shape))


@pytest.mark.parametrize(
    ("model", "base", "message"),
    [
        (nn.Linear(8, 2), nn.Linear(4, 2, bias=False), "differ in the parameter 'bias'; they may differ in width"),
        (Raw(8, 3), Raw(4, 3), "which side is its input cannot be told; hold it in a torch.nn.Linear"),
        (Raw(8, 6), Raw(4, 2), "which side is its input cannot be told"),
        (Raw(8, 4), Raw(4), "'weight' has 2 dimensions, at the base width 1"),
        (nn.Conv2d(2, 2, 5), nn.Conv2d(2, 2, 3), "the kernel of 'weight' grows with width"),
    ],
)
def test_models_that_differ_in_more_than_width_are_refused(model, base, message):
    """The parameter is named."""
    with pytest.raises(ValueError, match=message):
        scale_for_width(model, base)


def test_an_optimiser_without_a_rule_is_refused():
    """There are two."""
    with pytest.raises(ValueError, match="no muP rule for the optimizer 'lion'; it is adamw or sgd"):
        scale_for_width(nn.Linear(1, 1), nn.Linear(1, 1), optimizer="lion")


@pytest.mark.parametrize(
    ("layer", "role"),
    [
        (lambda w: nn.Embedding(50, w), "input"),
        (lambda w: nn.ConvTranspose2d(w, 3, 3, bias=False), "output"),
        (lambda w: Raw(1, 7, w), "input"),
        (lambda w: Raw(3 * w, w), "hidden"),
        (lambda w: nn.Conv2d(w, w, 3, groups=w // 4, bias=False), "input"),
    ],
    ids=["embedding", "transposed", "positions", "bare-square", "groups-of-four"],
)
def test_layers_of_users_models_have_roles_too(layer, role):
    """Also those that no family of ours has."""
    (multiplier,) = scale_for_width(layer(32), layer(16)).values()

    assert multiplier.role == role


# The coordinate check of Yang et al. 2022, appendix D.1: after a few steps the activations of every layer
# have moved by an amount that does not depend on width.
WIDTHS = {
    "mlp": [16, 32, 64, 128, 256],
    "vit": [16, 32, 64, 128],
    "mixer": [8, 16, 32, 64, 128],
    "resnet": [8, 16, 32, 64],
    "convnext": [8, 16, 32, 64],
}
RATES = {"adamw": 0.002, "sgd": 0.03}
STEPS = 5
# One draw of a narrow vit moves a slope by 0.2; residual and convolutional networks average over many maps.
SEEDS = {"mlp": 4, "vit": 6, "mixer": 4, "resnet": 2, "convnext": 2}


def activations_changes(family, width, *, optimizer, by_mup, seed):
    """Root mean square change of each layer's output on the batch that is trained on, by layer."""
    torch.manual_seed(seed)
    model, base = model_and_base(family, width=width)
    rescale_initialisation(model, base)
    groups = parameter_groups(
        model, base if by_mup else model, optimizer=optimizer, learning_rate=RATES[optimizer], weight_decay=0.0
    )
    steps = torch.optim.AdamW(groups) if optimizer == "adamw" else torch.optim.SGD(groups, momentum=0.9)
    torch.manual_seed(100 + seed)
    images, labels = torch.randn(32, 1, 8, 8), torch.randint(0, 10, (32,))
    outputs = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(lambda _, __, output, name=name: outputs.update({name: output.detach()}))
    for step in range(STEPS + 1):
        loss = nn.functional.cross_entropy(model(images), labels)
        if step == 0:
            first = dict(outputs)
        steps.zero_grad()
        loss.backward()
        steps.step()
    return {name: (output - first[name]).square().mean().sqrt().item() for name, output in outputs.items()}


def slopes_of_change(family, *, optimizer, by_mup):
    """By layer, the slope of the logarithm of its change over the logarithm of width."""
    logs = [
        [
            activations_changes(family, width, optimizer=optimizer, by_mup=by_mup, seed=seed)
            for seed in range(SEEDS[family])
        ]
        for width in WIDTHS[family]
    ]
    return {
        name: np.polyfit(
            np.log(WIDTHS[family]),
            [np.mean([math.log(changes[name]) for changes in seeds]) for seeds in logs],
            1,
        )[0]
        for name in logs[0][0]
    }


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_activations_move_alike_at_every_width(family, optimizer):
    """The slope of every layer's change over width lies within a fifth of zero."""
    slopes = slopes_of_change(family, optimizer=optimizer, by_mup=True)

    assert max(abs(slope) for slope in slopes.values()) < 0.2, slopes


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("family", ["mlp", "vit"])
def test_the_same_check_fails_where_one_rate_serves_all_weights(family, optimizer):
    """Without muP some layers move by more the wider the model is: the check above can fail."""
    slopes = slopes_of_change(family, optimizer=optimizer, by_mup=False)

    assert max(slopes.values()) > 0.5, slopes
