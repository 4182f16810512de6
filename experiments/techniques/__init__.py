"""Ways of getting a model: one file each, one entry in `TECHNIQUES`.

A technique is a function of a `Workbench` that returns a trained model. Whatever it spends it spends
inside a phase of the workbench's ledger. A user's own is named ``module:function`` in the sweep file.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.workbench import TrainedModel, Workbench

Technique = Callable[["Workbench"], "TrainedModel"]

TECHNIQUES: dict[str, str] = {"baseline": "experiments.techniques.baseline:baseline"}


def find_technique(name: str) -> Technique:
    """Look a technique up by name or import path.

    Raises:
        ValueError: If there is none of that name, or the path leads to nothing callable.
    """
    if ":" not in name and name not in TECHNIQUES:
        near = difflib.get_close_matches(name, TECHNIQUES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"there is no technique {name!r}{hint}; there are {', '.join(TECHNIQUES)}, and your own as module:function"
        )
    path = TECHNIQUES.get(name, name)
    module_name, _, function_name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"technique {name!r} cannot be imported: {error}") from None
    if not callable(found):
        raise ValueError(f"technique {name!r} is a {type(found).__name__}, not a function of a Workbench")
    return found
