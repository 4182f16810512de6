"""Quantities and refusals of the system in words, the same everywhere a person reads them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
FOLDER_REMEDY = "give --results or --out and a folder that you may write to"
FULL = (errno.ENOSPC, errno.EDQUOT)


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


def part_of(part: int, whole: int, noun: str) -> str:
    """Some of a number of things, in words: 0 of 1 trial, 3 of 18 trials."""
    # Here, so that help needs none of the libraries that scaling does.
    from scaling.words import agree

    return f"{part} of {whole} {agree(whole, noun, f'{noun}s')}"


def bytes_text(n_bytes: float) -> str:
    """``812 MiB`` or ``3.4 GiB``."""
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"


def energy_text(joules: float) -> str:
    """``820 J`` or ``0.12 kWh``."""
    return f"{joules / 3.6e6:.2g} kWh" if joules >= 3.6e4 else f"{joules:.0f} J"


def refusal_text(error: OSError) -> str:
    """What the system refused and what to do about it, in a sentence; its own words where nothing better is known."""
    if error.errno in FULL:
        place = f" for {error.filename}" if error.filename else ""
        return f"no room is left{place} ({error.strerror}); make room, then give the same command again"
    if error.strerror is None or not isinstance(error.filename, str | Path):
        return str(error)
    if error.errno not in FORBIDDEN:
        return (
            f"{error.filename} cannot be used ({error.strerror.lower()}); see that it is there, or name another place"
        )
    path = Path(error.filename).absolute()
    if path.is_file() and not os.access(path, os.R_OK):
        return f"{path} may not be read by this user ({error.strerror}); ask its owner, or give another"
    folder = next(folder for folder in (path, *path.parents) if folder.is_dir())
    from scaling.export import not_writable_text

    return not_writable_text(folder, error, FOLDER_REMEDY)
