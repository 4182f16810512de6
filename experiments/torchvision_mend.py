"""Lets timm and torchvision be imported where torchvision was built for another torch.

The package registry's torchvision is a CUDA build. Beside a CPU build of torch its compiled
extension does not load, and then ``import torchvision`` fails for want of two operator schemas.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch.library

# The definitions vanish with their library object, so it lives as long as the process.
_definitions: list[torch.library.Library] = []
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def mend_torchvision() -> bool:
    """Define what torchvision's import asks for, if its own extension cannot be loaded.

    To be called in each process before the first import of timm or torchvision. Where torchvision
    is whole, absent, or already imported, nothing is changed. The operators themselves (box
    suppression) stay unusable; no classifier needs them.

    Returns:
        Whether the schemas are ours.
    """
    if _definitions:
        return True
    if "torchvision" in sys.modules or _extension_loads():
        return False
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _definitions.append(library)
    return True


def _extension_loads() -> bool:
    """Whether torchvision's compiled part fits this torch; an absent torchvision needs no mending."""
    import torch

    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return True
    for extension in sorted(Path(found.origin).parent.glob("_C*.so")):
        try:
            torch.ops.load_library(str(extension))
        except OSError:
            return False
    return True
