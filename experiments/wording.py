"""Quantities in words, the same everywhere a person reads them."""

from __future__ import annotations


def flops_text(flops: float) -> str:
    """``1.2e+13 FLOP``."""
    return f"{flops:.2g} FLOP"


def seconds_text(seconds: float) -> str:
    """``12 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def count_text(count: float) -> str:
    """``950``, ``12.3 k``, ``4.56 M``."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {letter}"
    return f"{count:.0f}"


def agree(number: int, one: str, many: str) -> str:
    """The verb of so many things: 1 is, 2 are."""
    return one if number == 1 else many


def bytes_text(n_bytes: float) -> str:
    """``812 MiB`` or ``3.4 GiB``."""
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"


def energy_text(joules: float) -> str:
    """``820 J`` or ``0.12 kWh``."""
    return f"{joules / 3.6e6:.2g} kWh" if joules >= 3.6e4 else f"{joules:.0f} J"
