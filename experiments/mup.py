"""Transfer of the learning rate across width: maximal update parametrisation (muP).

A model is compared with the same model at a base width. A dimension that differs is width-like,
and which of a weight's dimensions are width-like settles how its learning rate and its first
values scale, so that features move by the same amount at every width. At the base width nothing
changes. Depth, batch size and duration are outside the rule: across them the rate must be tuned.

Source:
    Yang et al. 2022 (arXiv:2203.03466), table 3 (equivalent to table 8).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

Optimizer = Literal["adamw", "sgd"]
Role = Literal["fixed", "input", "hidden", "output"]

# Fewer values say too little of the distribution that they were drawn from.
FEWEST_VALUES = 64
_OUT_BY_IN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_IN_BY_OUT = (nn.Embedding, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Multiplier:
    """What width does to one parameter, relative to the base width.

    Attributes:
        role: ``hidden`` if it maps width to width, ``input`` if its fan-in does not grow with width
            (also biases, norms, position embeddings and depthwise kernels), ``output`` if only its
            fan-in does, ``fixed`` if no dimension does.
        lr_scale: Factor on the learning rate.
        init_scale: Factor on the first values, which are taken to be drawn with a standard
            deviation in proportion to fan_in ** -0.5.
    """

    role: Role
    lr_scale: float
    init_scale: float


def scale_for_width(
    model: nn.Module, base_model: nn.Module, *, optimizer: Optimizer = "adamw"
) -> dict[str, Multiplier]:
    """Derive every trainable parameter's multipliers from the shapes of two widths of one model.

    Args:
        model: The model to be trained.
        base_model: The same at the base width; only shapes are read, so it may lie on the meta device.
        optimizer: The rule differs, since Adam's steps do not depend on the gradient's size.

    Returns:
        Multipliers by parameter name.

    Raises:
        ValueError: If the two differ in more than width, a weight's orientation cannot be known, or
            there is no rule for the optimiser.

    Source:
        Yang et al. 2022 (arXiv:2203.03466), table 3.
    """
    if optimizer not in ("adamw", "sgd"):
        raise ValueError(f"there is no muP rule for the optimizer {optimizer!r}; it is adamw or sgd")
    base_shapes = {name: tuple(parameter.shape) for name, parameter in base_model.named_parameters()}
    multipliers = {}
    names = {name for name, _ in model.named_parameters()}
    if names != set(base_shapes):
        name = sorted(names ^ set(base_shapes))[0]
        raise ValueError(f"the model and its base differ in the parameter {name!r}; they may differ in width alone")
    for name, parameter, module in _trainable(model):
        fan_out, fan_in = _growth(name, module, tuple(parameter.shape), base_shapes[name])
        multipliers[name] = _multiplier(fan_out, fan_in, optimizer)
    return multipliers


def rescale_initialisation(model: nn.Module, base_model: nn.Module) -> None:
    """Scale the first values of a freshly built model in place to what muP asks at its width.

    Weights must have been drawn with a standard deviation in proportion to fan_in ** -0.5, as the
    project's families and torch's own layers do. It is checked where `base_model` holds values.

    Raises:
        ValueError: If a hidden weight shrinks with width in another way than that.
    """
    base_values = dict(base_model.named_parameters())
    parameters = dict(model.named_parameters())
    for name, multiplier in scale_for_width(model, base_model).items():
        _check_shrinkage(name, parameters[name], base_values[name], multiplier)
        if multiplier.init_scale != 1:
            with torch.no_grad():
                parameters[name].mul_(multiplier.init_scale)


def parameter_groups(
    model: nn.Module,
    base_model: nn.Module,
    *,
    optimizer: Optimizer,
    learning_rate: float,
    weight_decay: float,
) -> list[dict[str, Any]]:
    """Group a model's trainable parameters for torch.optim with their learning rates by muP.

    The decay per step, rate x weight_decay, is the same at every width: torch multiplies it by the
    group's own rate, so the group's coefficient is divided by its lr_scale (independent decay).
    Vectors (biases, norms) and what the model names in ``no_weight_decay`` do not decay.

    Args:
        model: The model to be trained.
        base_model: The same at the base width; may lie on the meta device.
        optimizer: The optimiser the groups are for.
        learning_rate: Rate at the base width.
        weight_decay: Decay coefficient at the base width.

    Returns:
        Groups with ``params``, ``lr``, ``weight_decay`` and ``lr_scale``; a schedule multiplies its
        rate by the last.

    Raises:
        ValueError: As `scale_for_width`.

    Source:
        Yang et al. 2022 (arXiv:2203.03466), table 3; Wortsman et al. 2023 (arXiv:2309.14322) on
        independent decay.
    """
    multipliers = scale_for_width(model, base_model, optimizer=optimizer)
    exempt_names: Any = getattr(model, "no_weight_decay", set)
    exempt = set(exempt_names())
    members: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter, _ in _trainable(model):
        decays = parameter.ndim >= 2 and name not in exempt
        members.setdefault((multipliers[name].lr_scale, decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": learning_rate * lr_scale,
            "weight_decay": weight_decay / lr_scale if decays else 0.0,
            "lr_scale": lr_scale,
        }
        for (lr_scale, decays), parameters in members.items()
    ]


def _trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, nn.Module]]:
    """Trainable parameters with their full names and the modules that own them, each once."""
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter, module


def _growth(name: str, module: nn.Module, shape: tuple[int, ...], base: tuple[int, ...]) -> tuple[float, float]:
    """By what factors the fan-out and the fan-in exceed those at the base width."""
    if len(shape) != len(base):
        raise ValueError(f"the parameter {name!r} has {len(shape)} dimensions, at the base width {len(base)}")
    ratios = [size / base_size for size, base_size in zip(shape, base, strict=True)]
    changed = [position for position, ratio in enumerate(ratios) if ratio != 1]
    if not changed:
        return 1.0, 1.0
    if len(shape) == 1:
        return ratios[0], 1.0
    if isinstance(module, _OUT_BY_IN):
        _refuse_kernels(name, changed)
        return ratios[0], ratios[1]
    if isinstance(module, _IN_BY_OUT):
        _refuse_kernels(name, changed)
        # An embedding looks a row up: its fan-in is one row, whatever their number.
        return ratios[1], 1.0 if isinstance(module, nn.Embedding) else ratios[0]
    if len(changed) == 1 and len(shape) >= 3:
        return ratios[changed[0]], 1.0
    if len(shape) == 2 and len(changed) == 2 and ratios[0] == ratios[1]:
        return ratios[0], ratios[1]
    raise ValueError(
        f"the parameter {name!r} of {type(module).__name__} grows from {base} to {shape}, and which side is its "
        "input cannot be told; hold it in a torch.nn.Linear, Conv or Embedding"
    )


def _refuse_kernels(name: str, changed: list[int]) -> None:
    if any(position >= 2 for position in changed):
        raise ValueError(f"the kernel of {name!r} grows with width; muP has no rule for that, keep it fixed")


def _multiplier(fan_out: float, fan_in: float, optimizer: Optimizer) -> Multiplier:
    """Table 3, written with the growth of both fans: at the base width all are 1."""
    lr_scale = 1 / fan_in if optimizer == "adamw" else fan_out / fan_in
    if fan_in == 1:
        return Multiplier("fixed" if fan_out == 1 else "input", lr_scale, 1.0)
    if fan_out == 1:
        return Multiplier("output", lr_scale, fan_in**-0.5)
    return Multiplier("hidden", lr_scale, 1.0)


def _check_shrinkage(name: str, parameter: nn.Parameter, base_parameter: nn.Parameter, multiplier: Multiplier) -> None:
    """Refuse hidden weights whose standard deviation does not go as fan_in ** -0.5."""
    if multiplier.role != "hidden" or parameter.is_meta or base_parameter.is_meta:
        return
    if min(parameter.numel(), base_parameter.numel()) < FEWEST_VALUES:
        return
    now, then = float(parameter.detach().std()), float(base_parameter.detach().std())
    if now == 0 or then == 0:
        return
    # For Adam the factor on a hidden weight's rate is one over the growth of its fan-in.
    expected = 0.5 * math.log(multiplier.lr_scale)
    # Five standard errors of a sample standard deviation, and 5% for truncated or fan-averaged draws.
    allowed = 5 * math.sqrt(0.5 / parameter.numel() + 0.5 / base_parameter.numel()) + 0.05
    if abs(math.log(now / then) - expected) > allowed:
        raise ValueError(
            f"the standard deviation of {name!r} is {then:.3g} at the base width and {now:.3g} here, where muP "
            f"expects {then * math.exp(expected):.3g}; draw it in proportion to fan_in ** -0.5, as torch.nn.Linear does"
        )
