"""Floating-point operations counted on the real graph: 1 multiply-add = 2 FLOP.

PyTorch's own counter watches every operation as it runs. It is right for matrix products and
ordinary convolutions and wrong for three kinds of operation, which are mended here; what it would
silently count as nothing is refused. As is usual in the field only products are counted: not
activations, normalisation, softmax, biases, the loss or the optimiser. Padding counts as pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry, sdpa_flop_count

from experiments.models import build_model, count_parameters

Loss = Callable[[Tensor, Tensor], Tensor]

# Enough for batch norm on a map of one pixel, and few enough to cost nothing.
COUNTING_BATCH = 2
# Layers whose products are with a weight of their own.
WEIGHTED_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

_PLAIN_NAMESPACES = {"aten", "prim", "prims", "profiler", "c10d", "_c10d_functional"}
# An operation without a formula whose name holds one of these words hides products.
_PRODUCT_WORDS = frozenset(
    {"mm", "bmm", "addmm", "addbmm", "mv", "dot", "vdot", "matmul", "linear", "trilinear", "cdist"}
    | {"conv", "convolution", "attention", "transformer", "rnn", "lstm", "gru", "fft", "linalg"}
)
# These hold such a word and multiply no matrices; the recurrent cells' own products are seen apart.
_PRODUCT_FREE = frozenset(
    {"linalg_vector_norm", "_thnn_fused_lstm_cell", "_thnn_fused_lstm_cell_backward_impl"}
    | {"_thnn_fused_gru_cell", "_thnn_fused_gru_cell_backward"}
)


@dataclass(frozen=True)
class Flops:
    """What one step on one batch costs [FLOP]."""

    forward: int
    backward: int

    @property
    def total(self) -> int:
        """Forward and backward together."""
        return self.forward + self.backward


def count_flops(model: nn.Module, images: Tensor, labels: Tensor, *, loss: Loss) -> Flops:
    """Count one step of training as it really runs, in the mode the model is in.

    The model is left as it was: weights, gradients, running statistics and random state.

    Args:
        model: The classifier.
        images: One batch on the model's device, shape (n, channels, height, width).
        labels: Whatever `loss` takes beside the logits.
        loss: From logits and labels to a scalar; products inside it count as forward.

    Returns:
        The FLOP of the forward and of the backward pass of this batch.

    Raises:
        ValueError: If the model runs an operation that would be counted as nothing.
    """
    with _untouched(model), _counting() as counter, torch.enable_grad():
        value = loss(model(images), labels)
        forward = counter.get_total_flops()
        value.backward()  # type: ignore[no-untyped-call]
        backward = counter.get_total_flops() - forward
    return Flops(forward, backward)


def training_flops_per_example(model: nn.Module, batch_shape: Sequence[int], n_classes: int) -> float:
    """FLOP of one forward and backward pass in training mode, per example.

    Counted once on a batch of two. That the cost is linear in the batch holds for every model that
    treats its examples alike; it is not checked.

    Args:
        model: The classifier.
        batch_shape: Shape of a training batch, (n, channels, height, width); n is not used.
        n_classes: Number of classes.

    Raises:
        ValueError: As `count_flops`.
    """
    images = _blank((COUNTING_BATCH, *batch_shape[1:]), model)
    labels = torch.arange(COUNTING_BATCH, device=images.device) % n_classes
    with _in_mode(model, training=True):
        flops = count_flops(model, images, labels, loss=nn.functional.cross_entropy)
    return flops.total / COUNTING_BATCH


def inference_flops_per_example(model: nn.Module, example_shape: Sequence[int]) -> int:
    """FLOP of one forward pass of one example in evaluation mode.

    Args:
        model: The classifier as deployed.
        example_shape: Shape of one example, (channels, height, width).

    Raises:
        ValueError: As `count_flops`.
    """
    image = _blank((1, *example_shape), model)
    with _in_mode(model, training=False), _untouched(model), _counting() as counter, torch.no_grad():
        model(image)
        return counter.get_total_flops()


@dataclass(frozen=True)
class LayerFlops:
    """What the products with one weight cost, per example [FLOP]."""

    inference: float
    training: float


def flops_by_layer(model: nn.Module, example_shape: Sequence[int]) -> dict[str, LayerFlops]:
    """What each weight of a linear or convolutional layer has to do with a model's FLOP, by parameter name.

    The forward pass is counted on the real graph, between a layer's entry and its exit. The gradient by the
    weights costs as much, and so does the one by the layer's input where anything asks for it. What remains of
    the model's total are products without weights: attention.

    Args:
        model: The classifier; a weight that several layers share has the sum of theirs.
        example_shape: Shape of one example, (channels, height, width).
    """
    found: dict[str, LayerFlops] = {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    handles = []
    before: list[int] = []

    def leave(module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        forward = (counter.get_total_flops() - before.pop()) / COUNTING_BATCH
        name = names[id(module.weight)]
        known = found.get(name, LayerFlops(0.0, 0.0))
        training = forward * (3 if inputs[0].requires_grad else 2)
        found[name] = LayerFlops(known.inference + forward, known.training + training)

    images = _blank((COUNTING_BATCH, *example_shape), model)
    with _in_mode(model, training=True), _untouched(model), _counting() as counter, torch.enable_grad():
        for module in model.modules():
            if isinstance(module, WEIGHTED_LAYERS):
                handles.append(module.register_forward_pre_hook(lambda *_: before.append(counter.get_total_flops())))
                handles.append(module.register_forward_hook(leave))
        try:
            model(images)
        finally:
            for handle in handles:
                handle.remove()
    return found


def _blank(shape: tuple[int, ...], model: nn.Module) -> Tensor:
    """Images of zeros in the model's own kind of number, on its device."""
    first = next((parameter for parameter in model.parameters() if parameter.is_floating_point()), None)
    if first is None:
        raise ValueError("the model has no floating-point parameters; count it before it is quantised")
    return torch.zeros(shape, dtype=first.dtype, device=first.device)


@dataclass(frozen=True)
class FamilyCost:
    """What a family's plain model costs at one size: FLOP per example, and parameters."""

    training_flops: float
    inference_flops: int
    n_params: int


@lru_cache(maxsize=4096)
def count_family(
    family: str, *, width: int, depth: int, height: int, image_width: int, channels: int, n_classes: int
) -> FamilyCost:
    """Count a family's plain model without weights or arithmetic, and remember it for this process.

    For planning, and for trials that differ by seed or data alone: on torch's meta device every
    family counts what it counts on real numbers, and a large model costs no more than a small one.

    Raises:
        ValueError: As `build_model` and `count_flops`.
    """
    shape = {"height": height, "image_width": image_width, "channels": channels, "n_classes": n_classes}
    with torch.device("meta"):
        model = build_model(family, width=width, depth=depth, **shape)
    return FamilyCost(
        training_flops=training_flops_per_example(model, (1, channels, height, image_width), n_classes),
        inference_flops=inference_flops_per_example(model, (channels, height, image_width)),
        n_params=count_parameters(model),
    )


@contextmanager
def _counting() -> Iterator[FlopCounterMode]:
    """Count with the mended formulas, and refuse what has none.

    The fused encoder layer of torch.nn, which hides its products, is switched off meanwhile; the
    plain one does the same arithmetic.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # The guard is entered first, so it sees the operations that the counter could not take apart.
        with _Guard(), FlopCounterMode(display=False, custom_mapping=_mended_formulas()) as counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


class _Guard(TorchDispatchMode):
    """Refuses the operations that the counter would let pass for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = {*flop_registry, *_mended_formulas()}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if isinstance(func, torch._ops.OpOverload):
            packet = func.overloadpacket
            if packet in self.counted:
                if any(isinstance(value, Tensor) and value.layout != torch.strided for value in args):
                    raise ValueError(
                        f"{func} works on sparse tensors, whose FLOP depend on the hardware; count the dense model"
                    )
            elif _hides_products(func.namespace, packet.__name__):
                raise ValueError(
                    f"the FLOP of {func} are not known; build the model from plain linear, convolution and "
                    "attention layers, count an int8 model before it is quantised, or give the operation a "
                    "formula by torch.utils.flop_counter.register_flop_formula"
                )
        return func(*args, **(kwargs or {}))


def _hides_products(namespace: str, name: str) -> bool:
    if namespace not in _PLAIN_NAMESPACES:
        return True
    if name in _PRODUCT_FREE or name.startswith("upsample_") or name.startswith("_upsample_"):
        return False
    return not _PRODUCT_WORDS.isdisjoint(name.split("_"))


def _mended_formulas() -> dict[Any, Callable[..., int]]:
    """Formulas that torch lacks (attention on a CPU, matrix-vector) or has otherwise than here.

    Each takes the shapes of the operation's arguments in the operation's order.
    """
    aten = torch.ops.aten
    formulas: dict[Any, Callable[..., int]] = {
        aten.convolution_backward: _convolution_backward,
        aten.mv: lambda *shapes, **_: 2 * math.prod(shapes[0]),
        aten.addmv: lambda *shapes, **_: 2 * math.prod(shapes[1]),
        aten.dot: lambda *shapes, **_: 2 * math.prod(shapes[0]),
        aten.vdot: lambda *shapes, **_: 2 * math.prod(shapes[0]),
        aten.addbmm: lambda *shapes, **_: 2 * math.prod(shapes[1]) * shapes[2][2],
    }
    forward = "_scaled_dot_product_flash_attention_for_cpu"
    if hasattr(aten, forward):
        formulas[getattr(aten, forward)] = _attention
    for kernel in ("flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention"):
        backward = f"_scaled_dot_product_{kernel}_backward"
        if hasattr(aten, backward):
            formulas[getattr(aten, backward)] = _attention_backward
    return formulas


def _convolution_backward(*arguments: Any, **_: Any) -> int:
    """Each of the two gradients, by images and by weights, costs what the forward pass did.

    The weights' own shape already carries the division by the groups, which torch forgets for
    the second gradient.
    """
    output_gradient, images, weights = arguments[:3]
    transposed, wanted = arguments[7], arguments[10]
    pixels = math.prod((images if transposed else output_gradient)[2:])
    forward: int = 2 * images[0] * pixels * math.prod(weights)
    return forward * sum(bool(gradient) for gradient in wanted[:2])


def _attention(*shapes: Any, **_: Any) -> int:
    query, key, value = shapes[:3]
    return int(sdpa_flop_count(query, key, value))


def _attention_backward(*shapes: Any, **_: Any) -> int:
    """The four products of the two gradients, twice the forward pass.

    A fused kernel also computes the scores a second time, rather than keep them, and torch's own formula
    counts that. Here it is left out, so that a model costs the same on every device and kernel.
    """
    _, query, key, value = shapes[:4]
    return 2 * _attention(query, key, value)


@contextmanager
def _in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Put the model into training or evaluation mode, and each module back where it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Give back gradients, buffers (running statistics) and random state as they were."""
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    devices = {parameter.device for parameter, _ in gradients if parameter.is_cuda}
    try:
        with torch.random.fork_rng(devices=list(devices)):
            for parameter, _ in gradients:
                parameter.grad = None
            yield
    finally:
        with torch.no_grad():
            for buffer, kept in buffers:
                buffer.copy_(kept)
        for parameter, gradient in gradients:
            parameter.grad = gradient


@contextmanager
def watch_flops() -> Iterator[FlopCounterMode]:
    """Count all that runs meanwhile, as it runs; ``get_total_flops()`` of what is yielded says how much [FLOP].

    Raises:
        ValueError: If an operation runs that would be counted as nothing.
    """
    with _counting() as counter:
        yield counter
