"""Structured pruning: what is taken out is gone, from the graph, the parameters and the account."""

import json

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from experiments.data import describe_dataset
from experiments.flops import count_family, inference_flops_per_example
from experiments.machine import Machine
from experiments.models import FAMILIES, build_model, count_parameters
from experiments.spec import TrialSpec
from experiments.techniques.structured_pruning import check, prune, structured_pruning, trainings
from experiments.techniques.units import find_units
from experiments.training import count_steps
from experiments.trial import run_trial

SHAPE = {"height": 8, "image_width": 8, "channels": 1, "n_classes": 10}
IMAGES = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
TECHNIQUE = {"technique": "structured-pruning"}


def options(**changes):
    """A trial's technique with options."""
    return {**TECHNIQUE, "technique_options": changes}


def spec(**changes):
    """A trial of a second."""
    fields = {"dataset": "digits", "family": "mlp", "width": 16, "depth": 2, "n_train": 200, "epochs": 4}
    return TrialSpec(**{**fields, "learning_rate": 0.01, **TECHNIQUE, **changes})


def network(family, width, depth=2):
    """A small one whose every weight is drawn, the head's too, with statistics of its own."""
    torch.manual_seed(0)
    model = build_model(family, width=width, depth=depth, **SHAPE)
    nn.init.normal_(model.head.weight)
    model.train()
    model(torch.randn(16, 1, 8, 8))
    return model.eval()


def vit_by_hand(hidden, heads):
    """Width 32, two blocks, 16 tokens of 4 pixels: patches, heads of 16, hidden units, the head of the classes."""
    block = 2 * 16 * (32 * 3 * 16 * heads + 16 * heads * 32 + 2 * 32 * hidden) + 4 * 16**2 * 16 * heads
    return 2 * 16 * 4 * 32 + 2 * block + 2 * 32 * 10


def mixer_by_hand(tokens, hidden):
    """Width 32, two blocks, 16 tokens of 4 pixels."""
    return 2 * 16 * 4 * 32 + 2 * (2 * 32 * 2 * 16 * tokens + 2 * 16 * 2 * 32 * hidden) + 2 * 32 * 10


@pytest.mark.parametrize("importance", ["magnitude", "taylor"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_pruned_trained_and_measured(family, importance):
    """A finished trial with fewer parameters and FLOP than the family's own."""
    width = {"vit": 32, "resnet": 4, "convnext": 4}.get(family, 16)
    changes = {"family": family, "width": width, "depth": 1, "n_train": 100, "epochs": 2}
    record = run_trial(spec(**changes, **options(keep=0.5, importance=importance)))
    row, dense = record["row"], count_family(family, width=width, depth=1, **SHAPE)

    assert record["status"] == "finished", record["reason"]
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert row["n_params"] < dense.n_params
    assert row["inference_flops"] < dense.inference_flops
    assert row["train_flops"] == row["train_flops_train"] + row["train_flops_prune-finetune"]
    assert "sparse_train_flops" not in row


@pytest.mark.parametrize("family", ["resnet", "convnext", "mlp"])
def test_half_of_the_channels_is_the_network_of_half_the_width(family, bench):
    """In every layer: as many parameters and FLOP as the family built at that width."""
    model = network(family, 16)
    prune(model, bench(family, width=16, depth=2), keep=0.5, importance="magnitude")
    half = network(family, 8)

    assert {name: value.shape for name, value in model.state_dict().items()} == {
        name: value.shape for name, value in half.state_dict().items()
    }
    assert inference_flops_per_example(model, (1, 8, 8)) == inference_flops_per_example(half, (1, 8, 8))
    assert count_parameters(model) == count_parameters(half)


@pytest.mark.parametrize(("keep", "hidden", "heads"), [(1.0, 128, 2), (0.5, 64, 1), (0.25, 32, 1), (0.01, 1, 1)])
def test_a_transformer_loses_heads_and_hidden_units_by_hand(keep, hidden, heads, bench):
    """FLOP on the pruned graph are those of plain arithmetic; at least one of each stays."""
    model = network("vit", 32)
    prune(model, bench("vit", width=32, depth=2), keep=keep, importance="magnitude")

    assert inference_flops_per_example(model, (1, 8, 8)) == vit_by_hand(hidden, heads)
    assert model(IMAGES).shape == (3, 10)


@pytest.mark.parametrize(("keep", "tokens", "hidden"), [(1.0, 32, 128), (0.5, 16, 64), (0.01, 1, 1)])
def test_a_mixer_loses_hidden_units_of_both_kinds_by_hand(keep, tokens, hidden, bench):
    """Across patches and across channels."""
    model = network("mixer", 32)
    prune(model, bench("mixer", width=32, depth=2), keep=keep, importance="magnitude")

    assert inference_flops_per_example(model, (1, 8, 8)) == mixer_by_hand(tokens, hidden)


@pytest.mark.parametrize("family", ["resnet", "mlp", "mixer"])
def test_torch_s_own_counter_sees_the_same_fall(family, bench):
    """Forward passes without attention are what it is right for."""
    model = network(family, 16)
    before = inference_flops_per_example(model, (1, 8, 8))
    prune(model, bench(family, width=16, depth=2), keep=0.5, importance="magnitude")
    with FlopCounterMode(display=False) as counter:
        model(IMAGES[:1])

    assert counter.get_total_flops() == inference_flops_per_example(model, (1, 8, 8)) < before


@pytest.mark.parametrize("family", ["resnet", "convnext", "vit", "mixer"])
def test_taking_out_silent_units_changes_nothing(family):
    """A network whose units' outgoing weights are 0 computes the same without those units."""
    model = network(family, 32)
    for units in find_units(model):
        gone = torch.arange(units.n) % 2 == 1
        with torch.no_grad():
            units.parts[1].scale((~gone).float())
        assert torch.count_nonzero(units.norms()) == units.n
    before = model(IMAGES)

    for units in find_units(model):
        units.keep(torch.arange(0, units.n, 2))

    assert torch.allclose(model(IMAGES), before, atol=1e-5)
    assert all(units.n == len(units.norms()) for units in find_units(model))


def test_taking_out_hidden_units_of_an_mlp_leaves_the_others_weights():
    """Rows, norms and columns of those that stay, in their order."""
    model = network("mlp", 8)
    kept = torch.tensor([0, 3, 5])
    first, second = find_units(model)[0], model.hidden1[0]
    rows, columns = model.hidden0[0].weight[kept].clone(), second.weight[:, kept].clone()
    first.keep(kept)

    assert torch.equal(model.hidden0[0].weight, rows)
    assert torch.equal(second.weight, columns)
    assert model.hidden0[1].weight.shape == (3,)
    assert (model.hidden0[0].out_features, second.in_features, model.hidden0[1].normalized_shape) == (3, 3, (3,))


def test_the_units_with_the_largest_weights_stay(bench):
    """Brute force over each hidden unit's rows and columns."""
    model = network("mixer", 16, depth=1)
    mlp = model.blocks[0].mlp_channels
    rows, columns = mlp.fc1.weight.detach(), mlp.fc2.weight.detach()
    norms = [float(rows[unit].square().sum() + columns[:, unit].square().sum()) for unit in range(len(rows))]
    best = sorted(sorted(range(64), key=lambda unit: -norms[unit])[:16])
    expected = rows[best].clone()

    prune(model, bench("mixer"), keep=0.25, importance="magnitude")

    assert torch.equal(mlp.fc1.weight, expected)


def test_a_head_s_norm_is_that_of_its_queries_keys_values_and_projection():
    """Read from the layout that timm's attention unpacks: three, heads, channels of a head."""
    model = network("vit", 32, depth=1)
    attention = model.blocks[0].attn
    heads = next(units for units in find_units(model) if units.attention is attention)
    qkv = attention.qkv.weight.detach().reshape(3, 2, 16, 32)
    projection = attention.proj.weight.detach().reshape(32, 2, 16)

    by_hand = [(qkv[:, head].square().sum() + projection[:, head].square().sum()).sqrt() for head in range(2)]

    assert heads.norms().tolist() == pytest.approx([float(norm) for norm in by_hand])


def test_taylor_s_score_predicts_the_loss_without_a_unit():
    """To first order: the change of the loss by a small cut of the unit, from two evaluations."""
    model = network("mixer", 16, depth=1).double()
    images, labels = IMAGES.double(), torch.tensor([1, 2, 3])
    loss = nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    loss = loss.detach()
    units = find_units(model)[1]
    scores = units.taylor()

    share = 1e-6
    for unit in (0, 7):
        factors = torch.ones(units.n, dtype=torch.float64)
        factors[unit] -= share
        with torch.no_grad():
            for part in units.parts:
                if part.is_weight:
                    part.scale(factors)
            changed = nn.functional.cross_entropy(model(images), labels)
            for part in units.parts:
                if part.is_weight:
                    part.scale(1 / factors)
        assert float(scores[unit]) == pytest.approx(float((changed - loss) / share) ** 2, rel=1e-3)


def test_the_gradients_of_taylor_s_score_are_charged():
    """Eight batches of 32 at the cost of the whole network, and no other difference."""
    plain, taylor = (
        run_trial(spec(n_train=320, **options(importance=importance)))["row"] for importance in ("magnitude", "taylor")
    )
    extra = 8 * 32 * count_family("mlp", width=16, depth=2, **SHAPE).training_flops

    assert taylor["train_flops_prune-finetune"] - plain["train_flops_prune-finetune"] == extra
    assert taylor["train_flops_train"] == plain["train_flops_train"]


def test_fine_tuning_is_charged_at_the_pruned_network_s_cost():
    """By hand: steps times batch times the FLOP of the family at half the width."""
    row = run_trial(spec(n_train=320, epochs=10, **options(keep=0.5, finetune_share=0.3)))["row"]
    whole, half = (count_family("mlp", width=width, depth=2, **SHAPE).training_flops for width in (16, 8))

    assert row["train_flops_train"] == 70 * 32 * whole
    assert row["train_flops_prune-finetune"] == 30 * 32 * half
    assert [count_steps(part) for part in trainings(spec(n_train=320, epochs=10))] == [70, 30]


def test_the_same_trial_gives_the_same_network(bench):
    """To the last bit, on a CPU."""
    first, second = (structured_pruning(bench("resnet", width=4, **TECHNIQUE)).model for _ in range(2))

    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_training_that_diverges_or_runs_out_of_time_ends_the_trial():
    """With a reason, and without a second phase."""
    diverged = run_trial(spec(optimizer="sgd", learning_rate=1e20))["row"]
    stopped = run_trial(spec(epochs=2000), Machine(time_limit_seconds=0.5))["row"]

    assert (diverged["status"], stopped["status"]) == ("diverged", "stopped")
    assert "train_flops_prune-finetune" not in diverged | stopped


def test_an_unknown_family_is_refused_when_planning():
    """With those that would do and what else there is."""
    with pytest.raises(ValueError, match=r"does not know those of mine:net; take one of these .* magnitude-pruning"):
        check(spec(family="mine:net"), describe_dataset("digits"), Machine())


@pytest.mark.parametrize("family", ["convnext", "mlp"])
def test_a_single_channel_under_a_layer_norm_is_refused_when_planning(family):
    """With the least share that leaves two; such a network gives every image the same answer."""
    with pytest.raises(ValueError, match=r"keep 0.25 leaves .* of width 4 one channel, .* at least 0.5"):
        check(spec(family=family, width=4, **options(keep=0.25)), describe_dataset("digits"), Machine())

    check(spec(family=family, width=4, **options(keep=0.5)), describe_dataset("digits"), Machine())
