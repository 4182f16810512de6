"""Layers of products in 8-bit arithmetic: convolutions as matrix products, rounding while training, conversion."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class UnfoldedConvolution(nn.Module):
    """A convolution as a linear layer over the patches under its kernel: the same products in another order.

    torchao turns linear layers into 8-bit ones and no convolutions; this makes them linear.

    Args:
        convolution: One without groups, with zero padding; its weights are taken over.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.geometry: dict[str, Any] = {
            "kernel_size": convolution.kernel_size,
            "dilation": convolution.dilation,
            "padding": convolution.padding,
            "stride": convolution.stride,
        }
        weight, bias = convolution.weight, convolution.bias
        with torch.device("meta"):
            self.linear = nn.Linear(weight[0].numel(), len(weight), bias=bias is not None)
        self.linear.weight = nn.Parameter(weight.detach().flatten(1))
        if bias is not None:
            self.linear.bias = nn.Parameter(bias.detach())

    def forward(self, images: Tensor) -> Tensor:
        """Convolve images of shape (n, channels, height, width)."""
        size = [
            (pixels + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for pixels, kernel, dilation, padding, stride in zip(
                images.shape[2:], *(self.geometry[name] for name in self.geometry), strict=True
            )
        ]
        patches = functional.unfold(images, **self.geometry).transpose(1, 2)
        products: Tensor = self.linear(patches)
        return products.transpose(1, 2).reshape(len(images), -1, *size)


class RoundedLinear(nn.Linear):
    """A linear layer whose inputs and weights are rounded as the 8-bit one would, with gradients straight through.

    Source:
        Jacob et al. 2018 (arXiv:1712.05877), section 3; Bengio et al. 2013 (arXiv:1308.3432) on the gradient.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Multiply the rounded inputs by the rounded weights."""
        return functional.linear(_rounded(inputs), _rounded(self.weight), self.bias)


def _rounded(values: Tensor) -> Tensor:
    from torchao.quantization import Int8Tensor, PerRow

    with torch.no_grad():
        error = Int8Tensor.from_hp(values.detach(), PerRow()).dequantize() - values
    return values + error


def is_quantisable(module: nn.Module) -> bool:
    """Whether torchao can do a layer's products in 8 bits: linear ones, and convolutions without groups.

    A layer with a single input per product, such as a stem of one pixel and one channel, it cannot.
    """
    weight = getattr(module, "weight", None)
    if weight is None or weight.ndim < 2 or weight[0].numel() < 2:
        return False
    if isinstance(module, nn.Conv2d):
        return module.groups == 1 and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return isinstance(module, nn.Linear)


def unfold_convolutions(model: nn.Module, *, like: nn.Module | None = None) -> None:
    """Replace the convolutions of a model that can be quantised by linear layers, in place.

    Args:
        model: The model.
        like: The same model at another width: what is unfolded there is unfolded here, and nothing else. What can be
            quantised depends on the width, as a product over a single channel cannot.
    """
    if like is None:
        _replace(model, lambda module: isinstance(module, nn.Conv2d) and is_quantisable(module), UnfoldedConvolution)
        return
    chosen = [model.get_submodule(name) for name, module in like.named_modules() if type(module) is UnfoldedConvolution]
    _replace(model, lambda module: any(module is one for one in chosen), UnfoldedConvolution)


def round_while_training(model: nn.Module) -> None:
    """Let the linear layers of a model round as 8-bit ones, in place."""
    _replace(model, lambda module: type(module) is nn.Linear and is_quantisable(module), _rounding)


def convert_to_int8(model: nn.Module) -> None:
    """Store the linear layers' weights as int8, and let them quantise their inputs as they come, in place."""
    with quiet_import():
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    _replace(model, lambda module: type(module) is RoundedLinear, lambda linear: _as_linear(linear, nn.Linear))
    quantize_(
        model,
        Int8DynamicActivationInt8WeightConfig(),
        filter_fn=lambda module, _: type(module) is nn.Linear and is_quantisable(module),
    )
    for parameter in model.parameters():
        parameter.requires_grad_(False)


def stored_bytes(model: nn.Module) -> int:
    """Bytes of a model's parameters and buffers as they are kept, scales of quantised weights included."""
    return sum(
        part.numel() * part.element_size()
        for tensor in (*model.parameters(), *model.buffers())
        for part in _parts(tensor)
    )


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    """The plain tensors that a tensor is made of."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None or type(tensor) in (Tensor, nn.Parameter):
        yield tensor
        return
    for name in flatten()[0]:
        yield from _parts(getattr(tensor, name))


def _rounding(linear: nn.Linear) -> nn.Linear:
    return _as_linear(linear, RoundedLinear)


def _as_linear(layer: Any, kind: type[nn.Linear]) -> nn.Linear:
    with torch.device("meta"):
        linear = kind(layer.in_features, layer.out_features, bias=layer.bias is not None)
    linear.weight, linear.bias = layer.weight, layer.bias
    return linear


def _replace(model: nn.Module, applies: Callable[[nn.Module], bool], make: Callable[[Any], nn.Module]) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if applies(child):
                setattr(parent, name, make(child).train(child.training))


@contextmanager
def quiet_import() -> Iterator[None]:
    """Keep from the log that torchao has no GPU kernels here, and how it registers itself with torch."""
    loggers = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
