"""Masks over a network's weights, and what an ideal sparse machine would do with them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from experiments.flops import flops_by_layer, inference_flops_per_example, training_flops_per_example
from experiments.models import FAMILIES, build_model
from experiments.techniques.masks import Masks, SparseAccount, note_of_lost_layers, prunable_weights, sparse_bytes

SHAPE = {"height": 8, "image_width": 8, "channels": 1, "n_classes": 10}
EXAMPLE = (1, 8, 8)


def attention_flops(model):
    """Scores and mixing of one example: 4 n^2 w per block, from the shapes of the weights."""
    total = 0
    for module in model.modules():
        if type(module).__name__ == "Attention":
            total += 4 * 16**2 * module.proj.weight.shape[1]
    return total


def network(family, **changes):
    """A small one whose every weight is drawn, the head's too."""
    torch.manual_seed(0)
    model = build_model(family, **{"width": 16, "depth": 2, **SHAPE, **changes})
    nn.init.normal_(model.head.weight)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_and_attention_sum_to_the_model(family):
    """The account by layers misses nothing of the count of the whole graph, forward and backward."""
    model = network(family)
    layers = flops_by_layer(model, EXAMPLE)
    attention = attention_flops(model)

    assert sum(layer.inference for layer in layers.values()) + attention == inference_flops_per_example(model, EXAMPLE)
    assert sum(layer.training for layer in layers.values()) + 3 * attention == training_flops_per_example(
        model, (2, *EXAMPLE), 10
    )


def test_a_weight_that_two_layers_share_has_the_flops_of_both():
    """By its one name."""
    layer = nn.Linear(8, 8, bias=False)
    layers = flops_by_layer(nn.Sequential(layer, nn.ReLU(), layer), (8,))

    assert {name: flops.inference for name, flops in layers.items()} == {"0.weight": 2 * 2 * 8 * 8}
    assert layers["0.weight"].training == 2 * 64 * (2 + 3)


@pytest.mark.parametrize("family", FAMILIES)
def test_sparse_inference_is_one_product_per_kept_weight_and_place(family, bench):
    """Counted by hooks: twice the weights that are not 0 times the places where each is used, and attention."""
    model = network(family)
    masks = Masks(model)
    masks.keep_largest(0.3)
    masks.apply()
    seen = attention_flops(model)

    def add(layer, _, output):
        nonlocal seen
        seen += 2 * int(torch.count_nonzero(layer.weight)) * output.numel() // layer.weight.shape[0]

    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(add)
    model.eval()(torch.randn(1, *EXAMPLE))
    expected = seen

    account = SparseAccount(bench(family), model)
    assert account.inference_flops(masks.densities) == pytest.approx(expected, rel=1e-12)
    assert account.inference_flops(dict.fromkeys(masks.densities, 1.0)) == inference_flops_per_example(model, EXAMPLE)


def test_sparse_training_of_an_mlp_by_hand(bench):
    """The first layer has two products, the others three; the head is dense."""
    model = network("mlp", width=16, depth=2)
    account = SparseAccount(bench("mlp"), model)

    flops = account.training_flops({"hidden0.0.weight": 0.25, "hidden1.0.weight": 0.5})

    assert flops == 2 * (2 * 64 * 16 * 0.25 + 3 * 16 * 16 * 0.5 + 3 * 16 * 10)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=5), st.integers(0, 5))
def test_masks_keep_the_largest_weights_of_the_whole_network(densities, seed):
    """As many as asked at the least density so far; none that is kept is smaller than one that is cut."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2))
    masks = Masks(model)
    before = torch.cat([model[0].weight.detach().flatten(), model[2].weight.detach().flatten()]).abs()
    for density in densities:
        masks.keep_largest(density)
    masks.apply()

    kept = torch.cat([mask.flatten() for mask in masks.kept.values()])
    assert int(kept.sum()) == masks.n_kept == max(1, round(min(densities) * 50))
    assert kept.all() or before[kept].min() >= before[~kept].max()
    assert int(sum(torch.count_nonzero(model[i].weight) for i in (0, 2))) == masks.n_kept


@pytest.mark.parametrize(
    ("densities", "note"),
    [
        ({"a.weight": 0.1, "b.weight": 1.0}, ""),
        ({"a.weight": 0.1, "b.weight": 0.0}, "no weight is left in b:"),
        ({"a.weight": 0.1, "b.weight": 0.0, "c.weight": 0.0}, "no weight is left in 2 of 3 layers, b the first:"),
    ],
)
def test_layers_without_weights_are_named(densities, note):
    """The first of them, and how many."""
    found = note_of_lost_layers(densities)

    assert found.startswith(note)
    assert bool(found) == bool(note)


def test_what_is_cut_stays_cut_though_it_grows():
    """A weight that the optimiser has moved meanwhile does not come back."""
    model = nn.Sequential(nn.Linear(4, 2, bias=False), nn.Linear(2, 2))
    model[0].weight.data = torch.arange(1.0, 9.0).view(2, 4)
    masks = Masks(model)
    masks.keep_largest(0.5)
    model[0].weight.data[0, 0] = 100.0

    masks.keep_largest(0.25)
    masks.apply()

    assert model[0].weight.tolist() == [[0, 0, 0, 0], [0, 0, 7, 8]]


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_but_the_head_s_are_prunable(family):
    """No bias, norm or position; the first layer's weight is."""
    model = network(family)
    names = set(prunable_weights(model))

    assert "head.weight" not in names
    assert all(name.endswith("weight") and parameter.ndim >= 2 for name, parameter in prunable_weights(model).items())
    layers = {n for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)} - {"head"}
    assert names == {f"{name}.weight" for name in layers}


@pytest.mark.parametrize(
    ("n_kept", "weight_bytes"),
    [(1000, 4000), (990, 4000), (500, 2000 + 125), (32, 128 + 125), (10, 10 * 8), (0, 0)],
)
def test_a_sparse_weight_takes_the_least_of_three_forms(n_kept, weight_bytes):
    """Dense; values and a bit per weight; values and indices of four bytes. Biases and the head are dense."""
    model = nn.Sequential(nn.Linear(100, 10), nn.ReLU(), nn.Linear(10, 2))
    nn.init.ones_(model[0].weight)
    model[0].weight.data.view(-1)[n_kept:] = 0

    assert sparse_bytes(model) == weight_bytes + 4 * (10 + 20 + 2)
