"""Features of images that an expert would choose, as fixed convolutions: their FLOP are counted like any others."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

ORIENTATIONS = 9
# Keeps the norm of an empty block from being 0, as in the paper's normalisation schemes.
BLOCK_FLOOR = 1e-3
# Largest share of one entry in a block's norm, after which the block is normalised again.
CLIPPED_SHARE = 0.2

SCATTERING_SCALES = 2
SCATTERING_ANGLES = 6


class OrientedGradients(nn.Module):
    """Histograms of oriented gradients over square cells, normalised over blocks of 2 x 2 cells.

    Each pixel votes with the size of its gradient, shared between the two nearest of nine orientations in
    [0, pi); of several channels the one with the largest gradient votes. A cell has 2 x 2 pixels below a
    side of 16 and an eighth of the side, at least 4, above.

    Source:
        Dalal and Triggs 2005, section 6, without their interpolation between cells and their Gaussian window.
    """

    kernels: Tensor

    def __init__(self, *, height: int, width: int, channels: int) -> None:
        super().__init__()
        side = min(height, width)
        self.cell = 2 if side < 16 else max(4, side // 8)
        self.n_features = 4 * ORIENTATIONS * (height // self.cell - 1) * (width // self.cell - 1)
        difference = torch.tensor([-0.5, 0.0, 0.5])
        kernels = torch.zeros(2, 1, 3, 3)
        kernels[0, 0, 1], kernels[1, 0, :, 1] = difference, difference
        self.register_buffer("kernels", kernels.repeat(channels, 1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """From images (n, channels, height, width) to features (n, n_features)."""
        n, channels, height, width = images.shape
        bordered = functional.pad(images, (1, 1, 1, 1), mode="replicate")
        gradients = functional.conv2d(bordered, self.kernels, groups=channels).view(n, channels, 2, height, width)
        sizes, strongest = gradients.norm(dim=2).max(dim=1)
        chosen = gradients.gather(1, strongest[:, None, None].expand(-1, -1, 2, -1, -1))[:, 0]
        place = torch.atan2(chosen[:, 1], chosen[:, 0]).remainder(math.pi) * (ORIENTATIONS / math.pi)
        centres = torch.arange(ORIENTATIONS, device=images.device).view(1, -1, 1, 1)
        distance = (place[:, None] - centres).abs()
        votes = (1 - torch.minimum(distance, ORIENTATIONS - distance)).clamp_min(0) * sizes[:, None]
        return _normalised_blocks(functional.avg_pool2d(votes, self.cell))


def _normalised_blocks(cells: Tensor) -> Tensor:
    blocks = functional.unfold(cells, kernel_size=2)
    for _ in range(2):
        blocks = (blocks / (blocks.norm(dim=1, keepdim=True) + BLOCK_FLOOR)).clamp_max(CLIPPED_SHARE)
    return blocks.flatten(1)


class Scattering(nn.Module):
    """A scattering transform of two orders: moduli of wavelets, averaged over 4 x 4 pixels.

    Morlet wavelets at two scales and six angles; the second order takes the modulus at the finer scale
    through the wavelets of the coarser.

    Source:
        Bruna and Mallat 2013 (arXiv:1203.1513), section 2; wavelets cut off beyond 7 x 7 and 13 x 13 pixels.
    """

    fine: Tensor
    coarse: Tensor

    def __init__(self, *, height: int, width: int, channels: int) -> None:
        super().__init__()
        self.step = 2**SCATTERING_SCALES
        angles = SCATTERING_ANGLES
        per_channel = 1 + SCATTERING_SCALES * angles + angles**2
        self.n_features = channels * per_channel * (height // self.step) * (width // self.step)
        self.register_buffer("fine", _wavelets(scale=1.0, reach=3))
        self.register_buffer("coarse", _wavelets(scale=2.0, reach=6))

    def forward(self, images: Tensor) -> Tensor:
        """From images (n, channels, height, width) to features (n, n_features)."""
        n, _, height, width = images.shape
        single = images.reshape(-1, 1, height, width)
        fine, coarse = _modulus(single, self.fine), _modulus(single, self.coarse)
        second = _modulus(fine.reshape(-1, 1, height, width), self.coarse).view(len(single), -1, height, width)
        maps = torch.cat([single, fine, coarse, second], dim=1)
        return functional.avg_pool2d(maps, self.step).reshape(n, -1)


def _wavelets(*, scale: float, reach: int) -> Tensor:
    """Real and imaginary parts of Morlet wavelets, shape (2 angles, 1, side, side): zero mean, unit modulus sum."""
    steps = torch.arange(-reach, reach + 1, dtype=torch.float64)
    down, right = torch.meshgrid(steps, steps, indexing="ij")
    parts = []
    for angle in torch.arange(SCATTERING_ANGLES, dtype=torch.float64) * (math.pi / SCATTERING_ANGLES):
        along = right * angle.cos() + down * angle.sin()
        across = down * angle.cos() - right * angle.sin()
        window = torch.exp(-(along**2 + (across / 2) ** 2) / (2 * (0.8 * scale) ** 2))
        wave = torch.exp(1j * (0.75 * math.pi / scale) * along)
        wavelet = window * (wave - (window * wave).sum() / window.sum())
        wavelet = wavelet / wavelet.abs().sum()
        parts += [wavelet.real, wavelet.imag]
    return torch.stack(parts)[:, None].float()


def _modulus(images: Tensor, wavelets: Tensor) -> Tensor:
    reach = wavelets.shape[-1] // 2
    bordered = functional.pad(images, (reach,) * 4, mode="replicate")
    parts = functional.conv2d(bordered, wavelets).unflatten(1, (-1, 2))
    return (parts.square().sum(dim=2) + 1e-12).sqrt()


class Standardise(nn.Module):
    """Shift and scale features to the mean 0 and the standard deviation 1 that they have on some examples."""

    mean: Tensor
    scale: Tensor

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", features.mean(dim=0))
        # A feature that never varies there stays as it is, shifted.
        deviation = features.std(dim=0, correction=0)
        self.register_buffer("scale", torch.where(deviation > 1e-6, 1 / deviation.clamp_min(1e-6), 1.0))

    def forward(self, features: Tensor) -> Tensor:
        """Standardise features of shape (n, n_features)."""
        return (features - self.mean) * self.scale
