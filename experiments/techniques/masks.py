"""Which weights of a network are kept; the others are 0 and stay 0. What that saves an ideal sparse machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from experiments.flops import WEIGHTED_LAYERS, flops_by_layer, inference_flops_per_example, training_flops_per_example
from experiments.workbench import Workbench

# Of a weight's place in its tensor, written as one number.
INDEX_BYTES = 4


def prunable_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Weights of linear and convolutional layers, by name, but for the last layer's, the head's.

    The head starts at 0, so its weights are small beside all others for many steps, and pruning by magnitude
    over the whole network would cut it away first (seen). Biases, norms and positions are not pruned either.
    """
    layers = [module.weight for module in model.modules() if isinstance(module, WEIGHTED_LAYERS)]
    wanted = {id(weight) for weight in layers[:-1] if weight is not layers[-1]}
    return {name: weight for name, weight in model.named_parameters() if id(weight) in wanted and weight.requires_grad}


class Masks:
    """The kept ones among a network's prunable weights; all of them at first."""

    def __init__(self, model: nn.Module) -> None:
        self.weights = prunable_weights(model)
        self.kept = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in self.weights.items()}
        self.n_weights = sum(weight.numel() for weight in self.weights.values())
        self.n_kept = self.n_weights
        self.densities = dict.fromkeys(self.weights, 1.0)

    def keep_largest(self, density: float) -> None:
        """Keep this share of all weights, at least one: the largest in magnitude anywhere; what is cut stays cut."""
        n_kept = max(1, round(density * self.n_weights))
        if n_kept >= self.n_kept:
            return
        magnitudes = [
            weight.detach().abs().masked_fill(~self.kept[name], -1.0).flatten() for name, weight in self.weights.items()
        ]
        kept = torch.zeros(self.n_weights, dtype=torch.bool, device=magnitudes[0].device)
        kept[torch.cat(magnitudes).topk(n_kept, sorted=False).indices] = True
        parts = kept.split([weight.numel() for weight in self.weights.values()])
        self._set({name: part.view_as(self.kept[name]) for name, part in zip(self.weights, parts, strict=True)})

    def keep_nonzero(self) -> None:
        """Keep the weights that are not 0."""
        self._set({name: weight.detach() != 0 for name, weight in self.weights.items()})

    def state_dict(self) -> dict[str, Any]:
        """Which are kept."""
        return {"kept": self.kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Keep those that were."""
        self._set({name: state["kept"][name].to(weight.device) for name, weight in self.weights.items()})

    @torch.no_grad()
    def apply(self) -> None:
        """Set what is not kept to 0."""
        for name, weight in self.weights.items():
            weight.masked_fill_(~self.kept[name], 0.0)

    def _set(self, kept: dict[str, Tensor]) -> None:
        self.kept = kept
        counts = {name: int(mask.sum()) for name, mask in kept.items()}
        self.n_kept = sum(counts.values())
        self.densities = {name: count / kept[name].numel() for name, count in counts.items()}


class SparseAccount:
    """FLOP of an ideal sparse machine: each product with a weight is done only if the weight is kept.

    In training the same holds for both gradients, since a weight that is cut needs none. What the trial
    enters as dense FLOP is not touched.
    """

    def __init__(self, workbench: Workbench, model: nn.Module) -> None:
        example, n_classes = workbench.dataset.info.shape, workbench.dataset.info.n_classes
        self.layers = flops_by_layer(model, example)
        self.training = training_flops_per_example(model, (1, *example), n_classes)
        self.inference = inference_flops_per_example(model, example)
        self.batch_size = min(workbench.spec.batch_size, workbench.spec.n_train)
        self.ledger = workbench.ledger
        self.spent = 0.0

    def inference_flops(self, densities: Mapping[str, float]) -> float:
        """One forward pass of one example [FLOP]."""
        return self.inference - sum(
            (1 - densities[name]) * layer.inference for name, layer in self.layers.items() if name in densities
        )

    def training_flops(self, densities: Mapping[str, float]) -> float:
        """One forward and backward pass of one example [FLOP]."""
        return self.training - sum(
            (1 - densities[name]) * layer.training for name, layer in self.layers.items() if name in densities
        )

    def add_step(self, densities: Mapping[str, float]) -> None:
        """Count a step of training."""
        self.spent += self.batch_size * self.training_flops(densities)

    def state_dict(self) -> dict[str, Any]:
        """The steps counted since the last entry."""
        return {"spent": self.spent}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from steps counted."""
        self.spent = state["spent"]

    def enter(self, phase: str) -> None:
        """Enter the steps counted since the last entry under a phase of the ledger."""
        with self.ledger.phase(phase) as entry:
            entry.sparse_flops = (entry.sparse_flops or 0.0) + self.spent
        self.spent = 0.0


def note_of_lost_layers(densities: Mapping[str, float]) -> str:
    """Say how many layers have lost all their weights; empty where none has."""
    lost = [name.removesuffix(".weight") for name, density in densities.items() if density == 0]
    if not lost:
        return ""
    where = lost[0] if len(lost) == 1 else f"{len(lost)} of {len(densities)} layers, {lost[0]} the first"
    return f"no weight is left in {where}: nothing passes through, and no gradient comes back to what lies before"


def sparse_bytes(model: nn.Module) -> int:
    """Size of a network stored without its zeros.

    Each prunable weight takes the least of three forms: dense; the values that are not 0 and one bit per
    weight to say where they are; those values with a 32-bit index each. All else is stored as it is.
    """
    prunable = {id(weight) for weight in prunable_weights(model).values()}
    total = 0
    for tensor in (*model.parameters(), *model.buffers()):
        dense = tensor.numel() * tensor.element_size()
        if id(tensor) in prunable:
            n_kept = int(torch.count_nonzero(tensor))
            values = n_kept * tensor.element_size()
            dense = min(dense, values + math.ceil(tensor.numel() / 8), values + n_kept * INDEX_BYTES)
        total += dense
    return total
