"""FLOP counts against plain arithmetic, against a count by layers, and against torch's other kernels."""

import math

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from experiments.flops import (
    Flops,
    count_family,
    count_flops,
    inference_flops_per_example,
    training_flops_per_example,
)
from experiments.models import FAMILIES, build_model, count_parameters

CLASSES = 10
# Two sizes of model and image; depth, and channels of the images, differ too.
SIZES = [
    {"width": 16, "depth": 1, "height": 8, "image_width": 8, "channels": 1, "n_classes": CLASSES},
    {"width": 32, "depth": 2, "height": 32, "image_width": 32, "channels": 3, "n_classes": CLASSES},
]


def sum_of_outputs(outputs, _):
    """A loss that multiplies no matrices."""
    return outputs.sum()


def step_flops(module, inputs):
    """Forward and backward of one step of any module."""
    return count_flops(module, inputs, inputs, loss=sum_of_outputs)


def mlp_by_hand(w, d, side, channels):
    """Forward FLOP of an example; and of the first layer, whose images need no gradient."""
    first = 2 * side**2 * channels * w
    return first + (d - 1) * 2 * w * w + 2 * w * CLASSES, first


def vit_by_hand(w, d, side, channels):
    """Queries, keys, values and the projection: 4 w^2 a token; scores and mixing: 2 n^2 w; the MLP: 8 w^2 a token."""
    patch = {8: 2, 32: 4}[side]
    n = (side // patch) ** 2
    first = 2 * n * (patch**2 * channels) * w
    block = 2 * n * 4 * w * w + 2 * 2 * n * n * w + 2 * n * 8 * w * w
    return first + d * block + 2 * w * CLASSES, first


def mixer_by_hand(w, d, side, channels):
    """Across patches n to 2n and back for each channel, across channels w to 4w and back for each patch."""
    patch = {8: 2, 32: 4}[side]
    n = (side // patch) ** 2
    first = 2 * n * (patch**2 * channels) * w
    block = 2 * w * (2 * n * 2 * n) + 2 * n * (2 * w * 4 * w)
    return first + d * block + 2 * w * CLASSES, first


def resnet_by_hand(w, d, side, channels):
    """A 3 x 3 stem at full size; stages of w, 2w, 4w, 8w whose first block halves the map and projects by 1 x 1."""
    first = 2 * side**2 * 9 * channels * w
    total = first
    maps = {8: [8, 4, 2, 2], 32: [32, 16, 8, 4]}[side]
    for stage, s in enumerate(maps):
        out = w * 2**stage
        into = out if stage == 0 else out // 2
        total += 2 * s * s * 9 * (into * out + (2 * d - 1) * out * out)
        if stage > 0:
            total += 2 * s * s * into * out
    return total + 2 * 8 * w * CLASSES, first


def convnext_by_hand(w, d, side, channels):
    """Depthwise k x k, then w to 4w to w on each pixel; between stages a 2 x 2 convolution, or 1 x 1 if not halved."""
    patch, maps, kernels, steps = {
        8: (1, [8, 4, 2, 2], [7, 3, 3, 3], [1, 2, 2, 1]),
        32: (2, [16, 8, 4, 2], [7, 7, 3, 3], [1, 2, 2, 2]),
    }[side]
    first = 2 * maps[0] ** 2 * patch**2 * channels * w
    total = first
    for stage, (s, k, step) in enumerate(zip(maps, kernels, steps, strict=True)):
        out = w * 2**stage
        if stage > 0:
            total += 2 * s * s * step**2 * (out // 2) * out
        total += d * 2 * s * s * (k * k * out + 8 * out * out)
    return total + 2 * 8 * w * CLASSES, first


BY_HAND = {
    "mlp": mlp_by_hand,
    "vit": vit_by_hand,
    "mixer": mixer_by_hand,
    "resnet": resnet_by_hand,
    "convnext": convnext_by_hand,
}


def test_every_family_has_a_count_by_hand():
    """A new family needs one too."""
    assert set(BY_HAND) == set(FAMILIES)


@pytest.mark.parametrize("size", SIZES, ids=["small", "medium"])
@pytest.mark.parametrize("family", FAMILIES)
def test_counts_are_those_of_plain_arithmetic(family, size):
    """Forward to the last digit; backward twice that, less the gradient by the images, which nobody needs."""
    model = build_model(family, **size)
    example = (size["channels"], size["height"], size["image_width"])
    forward, first = BY_HAND[family](size["width"], size["depth"], size["height"], size["channels"])

    counted = count_flops(model, torch.randn(3, *example), torch.tensor([0, 1, 2]), loss=nn.functional.cross_entropy)

    assert counted == Flops(3 * forward, 3 * (2 * forward - first))
    assert counted.total == 3 * (3 * forward - first)
    assert inference_flops_per_example(model, example) == forward
    assert training_flops_per_example(model, (64, *example), CLASSES) == 3 * forward - first


@pytest.mark.parametrize("family", ["resnet", "convnext", "vit", "mixer"])
def test_the_backward_pass_costs_twice_the_forward_pass(family):
    """Where the first layer is a small part of the whole."""
    counted = step_flops(build_model(family, **SIZES[1]), torch.randn(2, 3, 32, 32))

    assert counted.backward / counted.forward == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("side", [8, 28, 32, 64])
@pytest.mark.parametrize("family", FAMILIES)
def test_forward_counts_agree_with_a_count_layer_by_layer(family, side):
    """Hooks read each layer's real output; attention adds its two products from its input's shape."""
    model = build_model(family, width=16, depth=2, height=side, image_width=side, channels=1, n_classes=CLASSES)
    total = 0

    def add_layer(layer, _, output):
        nonlocal total
        total += 2 * output.numel() * math.prod(layer.weight.shape[1:])

    def add_attention(_, inputs, __):
        nonlocal total
        n_examples, n_tokens, width = inputs[0].shape
        total += 2 * (2 * n_examples * n_tokens**2 * width)

    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(add_layer)
        elif type(module).__name__ == "Attention":
            module.register_forward_hook(add_attention)
    model.eval()(torch.randn(1, 1, side, side))
    seen = total

    assert inference_flops_per_example(model, (1, side, side)) == seen


@pytest.mark.parametrize("family", FAMILIES)
def test_two_examples_cost_twice_one(family):
    """So that a count at a small batch serves for any."""
    model = build_model(family, **SIZES[0])

    one, two = (step_flops(model, torch.randn(n, 1, 8, 8)) for n in (1, 2))

    assert two == Flops(2 * one.forward, 2 * one.backward)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_counted_the_same_without_weights(family):
    """The count for planning, made on the meta device and kept, equals that of the real model."""
    model = build_model(family, **SIZES[1])
    count_family.cache_clear()

    cost = count_family(family, **SIZES[1])

    assert cost.training_flops == training_flops_per_example(model, (8, 3, 32, 32), CLASSES)
    assert cost.inference_flops == inference_flops_per_example(model, (3, 32, 32))
    assert cost.n_params == count_parameters(model)
    assert count_family(family, **SIZES[1]) is cost


def test_at_imagenet_s_size_our_resnet_is_the_published_resnet_18():
    """11,689,512 parameters and 1.814e9 multiply-adds, from the metadata of torchvision's ResNet18_Weights."""
    cost = count_family("resnet", width=64, depth=2, height=224, image_width=224, channels=3, n_classes=1000)

    assert cost.n_params == 11_689_512
    assert cost.inference_flops / 2 == pytest.approx(1.814e9, abs=0.5e6)


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_the_model_as_it_was(training):
    """Weights, gradients, running statistics, random numbers and each module's mode."""
    model = build_model("resnet", **SIZES[0]).train(training)
    model.stem.eval()
    model.head.weight.grad = torch.ones_like(model.head.weight)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    random_state = torch.get_rng_state()

    training_flops_per_example(nn.Sequential(model, nn.Dropout()), (2, 1, 8, 8), CLASSES)
    inference_flops_per_example(model, (1, 8, 8))

    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(model.head.weight.grad, torch.ones_like(model.head.weight))
    assert model.stem[0].weight.grad is None


@pytest.mark.parametrize("groups", [1, 2, 4, 12])
@pytest.mark.parametrize("layer", [nn.Conv2d, nn.ConvTranspose2d])
def test_grouped_convolutions_cost_as_much_as_their_groups_apart(layer, groups):
    """A convolution of g groups is g small convolutions side by side, forward and backward."""
    whole = layer(12, 24, 3, stride=2, groups=groups)
    part = layer(12 // groups, 24 // groups, 3, stride=2)

    together = step_flops(whole, torch.randn(2, 12, 9, 9, requires_grad=True))
    apart = step_flops(part, torch.randn(2, 12 // groups, 9, 9, requires_grad=True))

    assert together == Flops(groups * apart.forward, groups * apart.backward)
    assert together.backward == 2 * together.forward


def test_fused_attention_costs_what_plain_products_do():
    """The kernel for CPUs, which torch counts as nothing, against the one made of matrix products."""
    model = build_model("vit", **SIZES[1])
    images = torch.randn(2, 3, 32, 32)

    with sdpa_kernel(SDPBackend.MATH):
        plain = step_flops(model, images)

    assert step_flops(model, images) == plain


class OneWeight(nn.Module):
    """A 5 x 4 weight in whatever operation is under test."""

    def __init__(self, operation):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 4))
        self.operation = operation

    def forward(self, images):
        return self.operation(self.weight, images)


@pytest.mark.parametrize(
    ("operation", "forward"),
    [
        (lambda weight, x: torch.mv(weight, x[:4]), 2 * 5 * 4),
        (lambda weight, x: torch.addmv(x, weight, x[:4]), 2 * 5 * 4),
        (lambda weight, x: weight @ x[:4], 2 * 5 * 4),
        (lambda weight, x: torch.dot(weight[:, 0], x), 2 * 5),
        (lambda weight, x: torch.vdot(weight[:, 0], x), 2 * 5),
        (lambda weight, x: torch.addbmm(x, weight.expand(3, 5, 4), torch.ones(3, 4, 5)), 2 * 3 * 5 * 4 * 5),
        (lambda weight, _: torch.einsum("ij,kj->ik", weight, weight), 2 * 5 * 4 * 5),
        (lambda weight, x: torch.linalg.vector_norm(weight * x[:4]), 0),
        (lambda weight, _: nn.functional.interpolate(weight[None, None], scale_factor=2, mode="bilinear"), 0),
    ],
)
def test_products_of_every_shape_are_counted(operation, forward):
    """Matrix-vector and vector-vector products included, and nothing else."""
    assert step_flops(OneWeight(operation), torch.randn(5)).forward == forward


@pytest.mark.parametrize(
    "operation",
    [
        lambda weight, _: nn.LSTM(4, 3)(weight)[0],
        lambda weight, _: nn.Bilinear(4, 4, 2)(weight, weight),
        lambda weight, _: torch.cdist(weight, weight),
        lambda weight, _: torch.fft.rfft(weight).abs(),
        lambda weight, _: torch.linalg.svdvals(weight),
        lambda _, __: torch._int_mm(torch.ones(32, 32, dtype=torch.int8), torch.ones(32, 32, dtype=torch.int8)),
        lambda weight, _: torch.sparse.mm(torch.eye(5).to_sparse(), weight),
    ],
    ids=["lstm", "bilinear", "cdist", "fft", "svd", "int8", "sparse"],
)
def test_what_would_be_counted_as_nothing_is_refused(operation):
    """With the operation's name and what to do about it."""
    with pytest.raises(ValueError, match=r"FLOP of .*aten.* are not known; build the model from plain"):
        step_flops(OneWeight(operation), torch.randn(5))


def test_an_operation_of_another_library_is_refused():
    """Its arithmetic cannot be seen."""
    library = torch.library.Library("ninthpower_test", "FRAGMENT")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: 2 * x, "CompositeExplicitAutograd")
    twice = torch.ops.ninthpower_test.twice

    with pytest.raises(ValueError, match=r"ninthpower_test\.twice"):
        step_flops(OneWeight(lambda weight, x: weight * twice(x[:4])), torch.randn(5))


def test_a_model_without_floating_point_weights_is_refused():
    """What is quantised was to be counted before."""
    with pytest.raises(ValueError, match="before it is quantised"):
        inference_flops_per_example(nn.Flatten(), (1, 8, 8))


def test_torch_s_encoder_layer_costs_the_same_in_both_modes():
    """In evaluation it would take a fused path that hides its products; the switch is put back after."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    tokens = torch.randn(1, 6, 16)

    assert inference_flops_per_example(layer, (6, 16)) == step_flops(layer, tokens).forward
    assert torch.backends.mha.get_fastpath_enabled()
