"""Model families with width and depth as free whole numbers, for images from 8 x 8 upwards.

The blocks are timm's; stems, strides and patches follow the size of the image, so that no kernel
tap falls wholly outside it. docs/models.md says what is built for which image. Torch and timm are
imported only when a model is built.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

from experiments.torchvision_mend import mend_torchvision

if TYPE_CHECKING:
    from torch import nn

# With a constant head size muP leaves attention as it is; small enough for narrow models.
HEAD_DIMENSION = 16
SMALLEST_SIDE = 8


@dataclass(frozen=True)
class Size:
    """How large a classifier is, and for which images."""

    width: int
    depth: int
    height: int
    image_width: int
    channels: int
    n_classes: int

    def __post_init__(self) -> None:
        """Refuse what is no count."""
        for name, value in asdict(self).items():
            least = 2 if name == "n_classes" else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} is {value!r}, but it is a whole number from {least} on")

    @property
    def side(self) -> int:
        """The shorter side of the images [pixel]."""
        return min(self.height, self.image_width)


@dataclass(frozen=True)
class Family:
    """A way of building a classifier of any width and depth.

    `refuse` returns the reason why a size cannot be built, or None.
    """

    name: str
    description: str
    build: Callable[[Size], nn.Module]
    refuse: Callable[[Size], str | None]


# ResNet: basic blocks of two 3 x 3 convolutions, four stages of w, 2w, 4w, 8w channels.


def _build_resnet(size: Size) -> nn.Module:
    mend_torchvision()
    from timm.models.resnet import BasicBlock, downsample_conv
    from torch import nn

    stem, side = _resnet_stem(size)
    stages = []
    n_in = size.width
    for stage, stride in enumerate(_stage_strides(side, halved=lambda pixels: math.ceil(pixels / 2))):
        n_out = size.width * 2**stage
        blocks = []
        for block in range(size.depth):
            step = stride if block == 0 else 1
            projection = None
            if step != 1 or n_in != n_out:
                projection = downsample_conv(n_in, n_out, kernel_size=1, stride=step)
            blocks.append(BasicBlock(n_in, n_out, stride=step, downsample=projection))
            n_in = n_out
        stages.append(nn.Sequential(*blocks))
    head = nn.Linear(n_in, size.n_classes)
    model = nn.Sequential(
        OrderedDict(
            stem=stem,
            stages=nn.Sequential(*stages),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            head=head,
        )
    )
    return _initialise(model, head)


def _resnet_stem(size: Size) -> tuple[nn.Module, int]:
    """Stem and the side of its map: ImageNet's from 128 pixels, 3 x 3 below, with stride 2 from 64."""
    from torch import nn

    large = size.side >= 128
    kernel, stride = (7, 2) if large else (3, 2 if size.side >= 64 else 1)
    layers: list[nn.Module] = [
        nn.Conv2d(size.channels, size.width, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(size.width),
        nn.ReLU(inplace=True),
    ]
    if large:
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    shrinkage = 4 if large else stride
    return nn.Sequential(*layers), math.ceil(size.side / shrinkage)


def _stage_strides(side: int, *, halved: Callable[[int], int]) -> list[int]:
    """Strides of the four stages: each after the first halves the map unless that leaves a single pixel.

    On a map of one pixel eight of the nine taps of a 3 x 3 kernel would meet padding only.
    """
    strides = [1]
    for _ in range(3):
        strides.append(2 if halved(side) >= 2 else 1)
        side = halved(side) if strides[-1] == 2 else side
    return strides


def _refuse_small(size: Size) -> str | None:
    if size.side < SMALLEST_SIDE:
        return (
            f"images of {size.height} x {size.image_width} pixels are too small, it needs {SMALLEST_SIDE} x "
            f"{SMALLEST_SIDE}; enlarge them or take mlp"
        )
    return None


# ConvNeXt: a depthwise convolution, a norm and two linear layers per block; w, 2w, 4w, 8w channels.


def _build_convnext(size: Size) -> nn.Module:
    mend_torchvision()
    from timm.layers import LayerNorm, LayerNorm2d
    from timm.models.convnext import ConvNeXtStage
    from torch import nn

    patch = 1 if size.side < 16 else 2 if size.side < 64 else 4
    side = size.side // patch
    stages = []
    n_in = size.width
    for stage, stride in enumerate(_stage_strides(side, halved=lambda pixels: pixels // 2)):
        side //= stride
        stages.append(
            ConvNeXtStage(
                n_in,
                size.width * 2**stage,
                kernel_size=_depthwise_kernel(side),
                stride=stride,
                depth=size.depth,
                ls_init_value=None,  # type: ignore[arg-type]  # None leaves the layer scale out
                norm_layer=partial(LayerNorm2d, eps=1e-6),
                norm_layer_cl=partial(LayerNorm, eps=1e-6),
            )
        )
        n_in = size.width * 2**stage
    head = nn.Linear(n_in, size.n_classes)
    model = nn.Sequential(
        OrderedDict(
            stem=nn.Sequential(
                nn.Conv2d(size.channels, size.width, patch, stride=patch), LayerNorm2d(size.width, eps=1e-6)
            ),
            stages=nn.Sequential(*stages),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            norm=nn.LayerNorm(n_in, eps=1e-6),
            head=head,
        )
    )
    return _initialise(model, head)


def _depthwise_kernel(side: int) -> int:
    """Largest odd kernel that fits the map, from 3 up to the 7 of the ConvNeXt paper."""
    return min(7, max(3, side if side % 2 else side - 1))


def _refuse_convnext(size: Size) -> str | None:
    return _refuse_narrow(size) or _refuse_small(size)


def _refuse_narrow(size: Size) -> str | None:
    if size.width < 2:
        return f"it normalises over its width, which at width {size.width} leaves nothing; take at least 2"
    return None


# ViT and Mixer: square patches as tokens.


def _build_vit(size: Size) -> nn.Module:
    mend_torchvision()
    from timm.models.vision_transformer import VisionTransformer
    from torch import nn

    model = VisionTransformer(
        img_size=(size.height, size.image_width),
        patch_size=_patch_size(size),
        in_chans=size.channels,
        num_classes=size.n_classes,
        global_pool="avg",
        class_token=False,
        embed_dim=size.width,
        depth=size.depth,
        num_heads=size.width // HEAD_DIMENSION,
    )
    # As large as the patches' own embeddings: a position looks up one row, its fan-in is 1. From timm's 0.02 a vit
    # of width 32 ended six epochs of digits with an error of 15%, from here with 4% (measured).
    nn.init.normal_(model.pos_embed)  # type: ignore[arg-type]
    return _initialise(model, model.head)


def _refuse_vit(size: Size) -> str | None:
    if size.width % HEAD_DIMENSION:
        return f"width {size.width} is no multiple of {HEAD_DIMENSION}, the size of its attention heads"
    return _refuse_patches(size)


def _build_mixer(size: Size) -> nn.Module:
    mend_torchvision()
    from timm.models.mlp_mixer import MlpMixer

    patch = _patch_size(size)
    n_patches = (size.height // patch) * (size.image_width // patch)
    model = MlpMixer(
        img_size=(size.height, size.image_width),  # type: ignore[arg-type]  # annotated int, takes both
        patch_size=patch,
        in_chans=size.channels,
        num_classes=size.n_classes,
        num_blocks=size.depth,
        embed_dim=size.width,
        # timm rounds ratio x width down. Layers across patches must not grow with width: their weights are
        # shared by all channels, and what they learn then fades with width under muP (measured).
        mlp_ratio=((2 * n_patches + 0.5) / size.width, 4.0),
    )
    return _initialise(model, model.head)


def _refuse_mixer(size: Size) -> str | None:
    return _refuse_narrow(size) or _refuse_patches(size)


def _patch_size(size: Size) -> int:
    """Side of a patch: 2 pixels below a side of 16, 4 below 64, 8 below 128, else 16.

    Where that does not divide the image, the largest smaller one that does; 1 if there is none.
    """
    wanted = 2 if size.side < 16 else 4 if size.side < 64 else 8 if size.side < 128 else 16
    divisors = math.gcd(size.height, size.image_width)
    return max(patch for patch in range(1, wanted + 1) if divisors % patch == 0)


def _refuse_patches(size: Size) -> str | None:
    small = _refuse_small(size)
    if small is None and _patch_size(size) == 1:
        return (
            f"images of {size.height} x {size.image_width} pixels cannot be cut into square patches; crop or "
            "resize them to a multiple of 4, or take resnet or convnext"
        )
    return small


# MLP: hidden layers of linear, norm and ReLU on the flattened image.


def _build_mlp(size: Size) -> nn.Module:
    from torch import nn

    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    n_in = size.channels * size.height * size.image_width
    for layer in range(size.depth):
        layers[f"hidden{layer}"] = nn.Sequential(nn.Linear(n_in, size.width), nn.LayerNorm(size.width), nn.ReLU())
        n_in = size.width
    head = nn.Linear(n_in, size.n_classes)
    layers["head"] = head
    return _initialise(nn.Sequential(layers), head)


def _initialise(model: nn.Module, head: nn.Module) -> nn.Module:
    """Draw all weights with a standard deviation of fan_in ** -0.5, and start the head at zero.

    One rule for all families, because muP needs to know how the weights shrink with width, and
    several of timm's own rules do not shrink them. The zero head is what Yang et al. 2022
    (arXiv:2203.03466, appendix D.2) recommend: all widths then start from the same function.
    """
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            fan_in = math.prod(module.weight.shape[1:])
            nn.init.normal_(module.weight, std=fan_in**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.zeros_(head.weight)  # type: ignore[arg-type]
    return model


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "resnet",
            "residual network of basic blocks; width is the first stage's, doubled in each of four stages",
            _build_resnet,
            _refuse_small,
        ),
        Family(
            "convnext",
            "depthwise convolutions and pointwise layers; width as for resnet",
            _build_convnext,
            _refuse_convnext,
        ),
        Family(
            "vit",
            f"transformer on image patches with heads of {HEAD_DIMENSION} channels",
            _build_vit,
            _refuse_vit,
        ),
        Family("mixer", "MLP-Mixer: layers across patches and across channels", _build_mixer, _refuse_mixer),
        Family("mlp", "hidden layers with layer norm and ReLU on the flattened image", _build_mlp, _refuse_narrow),
    )
}
