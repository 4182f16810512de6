"""Classifiers by name or by a user's own function: built, checked before they are built, counted.

Torch is imported only when a model is built, so that planning a sweep costs nothing.
"""

from __future__ import annotations

import difflib
import importlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from experiments.families import FAMILIES, Family, Size

if TYPE_CHECKING:
    from torch import nn

    from experiments.data import DatasetInfo

__all__ = ["FAMILIES", "Family", "Size", "build_model", "check_buildable", "count_parameters", "model_arguments"]


def model_arguments(info: DatasetInfo, *, width: int, depth: int) -> dict[str, Any]:
    """Arguments of `build_model` and `check_buildable`, the family aside, for the images and classes of a data set."""
    return {
        "width": width,
        "depth": depth,
        "height": info.height,
        "image_width": info.width,
        "channels": info.channels,
        "n_classes": info.n_classes,
    }


def build_model(
    family: str, *, width: int, depth: int, height: int, image_width: int, channels: int, n_classes: int
) -> nn.Module:
    """Build a classifier of images with random weights from torch's global generator.

    Args:
        family: A name in `FAMILIES`, or ``module:function`` of a builder with the same keywords.
        width: Channels of the first stage (resnet, convnext), of the tokens (vit, mixer) or units
            of a hidden layer (mlp).
        depth: Blocks per stage (resnet, convnext; four stages), blocks (vit, mixer) or hidden
            layers (mlp).
        height: Height of the images [pixel].
        image_width: Width of the images [pixel].
        channels: Colour channels.
        n_classes: Number of classes.

    Returns:
        A module from images (n, channels, height, image_width) to logits (n, n_classes). Those of
        `FAMILIES` start with logits of exactly zero, that is at the error of guessing.

    Raises:
        ValueError: If there is no such family or it cannot be built so.
    """
    size = Size(width, depth, height, image_width, channels, n_classes)
    if ":" in family:
        return _call_builder(family, size)
    _refuse(family, size)
    return FAMILIES[family].build(size)


def check_buildable(
    family: str, *, width: int, depth: int, height: int, image_width: int, channels: int, n_classes: int
) -> None:
    """Refuse at plan time what could not be built.

    The families' own rules need no torch. A user's builder is tried on torch's meta device, which
    allocates no weights, and its output's shape is looked at.

    Raises:
        ValueError: With the reason.
    """
    size = Size(width, depth, height, image_width, channels, n_classes)
    if ":" not in family:
        _refuse(family, size)
        return
    import torch

    with torch.device("meta"):
        model = _call_builder(family, size)
        try:
            logits = model(torch.zeros(2, channels, height, image_width))
        except (TypeError, ValueError, AssertionError, AttributeError, RuntimeError) as error:
            raise ValueError(
                f"the model of {family} fails on images of {channels} x {height} x {image_width}: {error}"
            ) from error
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, n_classes):
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(
            f"the model of {family} turns 2 images into {found}, not into logits of shape (2, {n_classes})"
        )


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters; one that several layers share counts once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _refuse(name: str, size: Size) -> None:
    if name not in FAMILIES:
        near = difflib.get_close_matches(name, FAMILIES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"there is no model family {name!r}; it is one of {', '.join(FAMILIES)}, or module:function{hint}"
        )
    reason = FAMILIES[name].refuse(size)
    if reason is not None:
        raise ValueError(f"{name} cannot be built: {reason}")


def _call_builder(family: str, size: Size) -> nn.Module:
    """Call a user's builder, and turn what it says into one sentence."""
    from torch import nn

    module_name, _, function_name = family.partition(":")
    try:
        builder = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"model family {family!r} cannot be imported ({error}); it is module:function on the Python path"
        ) from error
    try:
        model = builder(**asdict(size))
    except (TypeError, ValueError, AssertionError, AttributeError, RuntimeError) as error:
        settings = ", ".join(f"{name}={value}" for name, value in asdict(size).items())
        raise ValueError(f"{family} cannot build {settings}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"{family} returns a {type(model).__name__}; it must return a torch.nn.Module")
    return model
