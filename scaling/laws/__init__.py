"""Functional forms: how error depends on compute, size, data, repetition and pruning."""

from __future__ import annotations

import difflib

from scaling.laws.additive import POWER, SATURATING, SIZE_AND_DATA, WIDTH_DEPTH_DATA
from scaling.laws.base import Law, Parameter
from scaling.laws.broken import BROKEN
from scaling.laws.exponential import EXPONENTIAL
from scaling.laws.m4 import M4_FREE, m4
from scaling.laws.pruned import PRUNED
from scaling.laws.repeated import REPEATED
from scaling.laws.rosenfeld import ROSENFELD, rosenfeld

LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        POWER,
        SATURATING,
        EXPONENTIAL,
        M4_FREE,
        *BROKEN,
        SIZE_AND_DATA,
        WIDTH_DEPTH_DATA,
        ROSENFELD,
        *REPEATED,
        *PRUNED,
    )
}


def get_law(law: str | Law) -> Law:
    """Look a law up by name, or pass one through.

    Raises:
        ValueError: If there is no law of that name; the names are given.
    """
    if isinstance(law, Law):
        return law
    if law not in LAWS:
        near = difflib.get_close_matches(str(law), LAWS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"there is no law {law!r}{hint} (laws: {', '.join(LAWS)})")
    return LAWS[law]


__all__ = ["LAWS", "Law", "Parameter", "get_law", "m4", "rosenfeld"]
