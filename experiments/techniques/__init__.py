"""Ways of getting a model: one file each, one entry in `TECHNIQUES`.

A technique is a function of a `Workbench` that returns a trained model. Whatever it spends it spends
inside a phase of the workbench's ledger. A user's own is named ``module:function`` in the sweep file.
"""

from __future__ import annotations

import difflib
import importlib

from experiments.spec import TrialSpec
from experiments.techniques.technique import Earlier, Options, Technique, keep_as_built, read_options

__all__ = ["TECHNIQUES", "Earlier", "Options", "Technique", "find_technique", "keep_as_built", "read_options"]

TECHNIQUES: dict[str, str] = {
    "baseline": "experiments.techniques.baseline:BASELINE",
    "magnitude-pruning": "experiments.techniques.magnitude_pruning:MAGNITUDE_PRUNING",
    "structured-pruning": "experiments.techniques.structured_pruning:STRUCTURED_PRUNING",
    "complexity-penalty": "experiments.techniques.complexity_penalty:COMPLEXITY_PENALTY",
    "data-pruning": "experiments.techniques.data_pruning:DATA_PRUNING",
    "distillation": "experiments.techniques.distillation:DISTILLATION",
    "meta-learning": "experiments.techniques.meta_learning:META_LEARNING",
    "transfer": "experiments.techniques.transfer:TRANSFER",
    "quantization": "experiments.techniques.quantization:QUANTIZATION",
    "low-precision": "experiments.techniques.low_precision:LOW_PRECISION",
    "architecture-search": "experiments.techniques.architecture_search:ARCHITECTURE_SEARCH",
    "expert-features": "experiments.techniques.expert_features:EXPERT_FEATURES",
}


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
    module_name, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"technique {name!r} cannot be imported: {error}") from None
    if isinstance(found, Technique):
        return found
    if not callable(found):
        raise ValueError(f"technique {name!r} is a {type(found).__name__}, not a function of a Workbench")
    return Technique(run=found, summary=(found.__doc__ or name).strip().splitlines()[0], options=None)


def check_options(technique: Technique, spec: TrialSpec) -> None:
    """Refuse options that the technique does not have, or that would hide a column of the runs table.

    Raises:
        ValueError: With the option's name and what is allowed.
    """
    if technique.options is not None:
        read_options(technique.options, spec)
    for name in spec.technique_options:
        if name in TrialSpec.model_fields:
            raise ValueError(f"technique {spec.technique!r} has an option {name!r}, which is a field of every trial")
