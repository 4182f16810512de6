"""Units that can be taken out of a network for real: hidden units and attention heads, with all that is theirs.

What runs between a network's blocks keeps its width; the units lie within blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from experiments.torchvision_mend import mend_torchvision


@dataclass(frozen=True)
class Part:
    """A unit's part in one tensor of a module: along `dim` lie blocks of units of some entries each."""

    module: nn.Module
    name: str
    dim: int = 0
    blocks: int = 1
    each: int = 1

    @property
    def tensor(self) -> Tensor:
        """The whole tensor, a parameter or a buffer."""
        tensor: Tensor = getattr(self.module, self.name)
        return tensor

    @property
    def is_weight(self) -> bool:
        """Whether it is a weight of a linear or convolutional layer, and no bias, norm or statistic."""
        return self.tensor.ndim >= 2

    def by_unit(self, tensor: Tensor) -> Tensor:
        """A tensor of this shape with one row per unit, shape (units, entries)."""
        n = tensor.shape[self.dim] // (self.blocks * self.each)
        return tensor.unflatten(self.dim, (self.blocks, n, self.each)).movedim(self.dim + 1, 0).flatten(1)

    def scale(self, factors: Tensor) -> None:
        """Multiply each unit's part by its factor, in place."""
        along = factors.repeat_interleave(self.each).repeat(self.blocks)
        self.tensor.mul_(along.view(-1, *[1] * (self.tensor.ndim - self.dim - 1)))

    def keep(self, kept: Tensor) -> None:
        """Leave only some units' parts."""
        old = self.tensor
        n = old.shape[self.dim] // (self.blocks * self.each)
        places = torch.arange(old.shape[self.dim], device=old.device).view(self.blocks, n, self.each)
        new = old.detach().index_select(self.dim, places[:, kept].flatten())
        if isinstance(old, nn.Parameter):
            setattr(self.module, self.name, nn.Parameter(new, requires_grad=old.requires_grad))
        else:
            setattr(self.module, self.name, new)


@dataclass(frozen=True)
class Units:
    """Units that lie side by side: removing one changes nothing about the others.

    Attributes:
        name: Of the module that holds them.
        n: How many.
        parts: What they consist of.
        attention: The module whose heads they are; None for hidden units.
    """

    name: str
    n: int
    parts: tuple[Part, ...]
    attention: nn.Module | None = None

    def norms(self) -> Tensor:
        """Euclidean norm of each unit's weights, shape (n,)."""
        squares = [part.by_unit(part.tensor.detach()).square().sum(1) for part in self.parts if part.is_weight]
        return torch.stack(squares).sum(0).sqrt()

    def taylor(self) -> Tensor:
        """How much the loss would change to first order without each unit, shape (n,); gradients must be there.

        Source:
            Molchanov et al. 2019 (arXiv:1906.10771), eq. 8, over all weights of the unit.
        """
        parts = [part for part in self.parts if part.is_weight and part.tensor.grad is not None]
        products = [
            part.by_unit(part.tensor.detach() * part.tensor.grad).sum(1)  # type: ignore[operator]
            for part in parts
        ]
        return torch.stack(products).sum(0).square()

    @torch.no_grad()
    def shrink(self, threshold: float | Tensor) -> None:
        """Shorten each unit's weights by a length, or to 0: the proximal step of a group lasso."""
        norms = self.norms()
        factors = (1 - threshold / norms.clamp_min(torch.finfo(norms.dtype).tiny)).clamp_min(0)
        for part in self.parts:
            if part.is_weight:
                part.scale(factors)

    @torch.no_grad()
    def keep(self, kept: Tensor) -> None:
        """Take all other units out of the network.

        Args:
            kept: Places of the units to keep, at least one.
        """
        assert len(kept) >= 1
        for part in self.parts:
            part.keep(kept)
            _say_size(part.module)
        if self.attention is not None:
            self.attention.num_heads = len(kept)  # type: ignore[assignment]
            self.attention.attn_dim = len(kept) * self.attention.head_dim  # type: ignore[operator,assignment]


def find_units(model: nn.Module) -> list[Units]:
    """Every hidden layer within a block and every set of attention heads of a network.

    Hidden layers are those of timm's Mlp (convnext, vit, mixer), the first convolution of timm's residual block
    (resnet) and the layers of `mlp`. Networks of other making have none.
    """
    mend_torchvision()
    from timm.layers import Mlp
    from timm.layers.attention import Attention
    from timm.models.resnet import BasicBlock

    found = list(_hidden_layers(model))
    for name, module in model.named_modules():
        if isinstance(module, Mlp):
            found.append(_between(name, module.fc1, module.fc2))
        elif isinstance(module, Attention):
            found.append(_heads(name, module))
        elif isinstance(module, BasicBlock):
            found.append(_between(name, module.conv1, module.conv2, norm=module.bn1))
    return found


def _hidden_layers(model: nn.Module) -> Iterator[Units]:
    """Those of the family `mlp`: linear, norm, ReLU, and the linear layer that comes after."""
    hidden = [child for name, child in model.named_children() if name.startswith("hidden")]
    linear = [*(child[0] for child in hidden if isinstance(child, nn.Sequential)), getattr(model, "head", None)]
    if not hidden or not all(isinstance(layer, nn.Linear) for layer in linear):
        return
    for place, layer in enumerate(hidden):
        yield _between(f"hidden{place}", linear[place], linear[place + 1], norm=layer[1])  # type: ignore[arg-type,index]


def _between(name: str, first: nn.Module, second: nn.Module, *, norm: nn.Module | None = None) -> Units:
    """Outputs of a layer, with the norm on them, that are the inputs of another."""
    parts = [Part(first, "weight"), Part(second, "weight", dim=1)]
    if first.bias is not None:
        parts.append(Part(first, "bias"))
    if norm is not None:
        names = ("weight", "bias", "running_mean", "running_var")
        parts.extend(Part(norm, one) for one in names if getattr(norm, one, None) is not None)
    return Units(name, len(first.weight), tuple(parts))  # type: ignore[arg-type]


def _heads(name: str, module: nn.Module) -> Units:
    each = int(module.head_dim)  # type: ignore[arg-type]
    parts = [Part(module.qkv, "weight", blocks=3, each=each), Part(module.proj, "weight", dim=1, each=each)]  # type: ignore[arg-type]
    if module.qkv.bias is not None:  # type: ignore[union-attr]
        parts.append(Part(module.qkv, "bias", blocks=3, each=each))  # type: ignore[arg-type]
    return Units(name, int(module.num_heads), tuple(parts), attention=module)  # type: ignore[arg-type]


def _say_size(module: nn.Module) -> None:
    """Let a module's own account of its size be that of its weights."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.Conv2d):
        module.out_channels, module.in_channels = module.weight.shape[0], module.weight.shape[1] * module.groups
    elif isinstance(module, nn.BatchNorm2d):
        module.num_features = module.weight.shape[0]
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(module.weight.shape)
