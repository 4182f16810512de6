"""The last layer of a classifier: where its features end, and what is replaced for other classes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from experiments.data import DatasetInfo
from experiments.models import FAMILIES, build_model, model_arguments
from experiments.spec import TrialSpec

HEAD_PREFIX = "head."


def find_head(model: nn.Module) -> nn.Linear:
    """The linear layer ``head``, as every family of the project has.

    Raises:
        ValueError: If there is none.
    """
    head = getattr(model, "head", None)
    if not isinstance(head, nn.Linear):
        raise ValueError(
            f"the model {type(model).__name__} has no linear layer named head, which this technique needs; "
            f"name its last layer so, or take one of {', '.join(FAMILIES)}"
        )
    return head


def check_head(spec: TrialSpec, info: DatasetInfo) -> None:
    """Refuse a user's own family whose last layer cannot be found; the project's own have one.

    Raises:
        ValueError: As `find_head`.
    """
    if spec.family in FAMILIES:
        return
    with torch.device("meta"):
        find_head(build_model(spec.family, **model_arguments(info, width=spec.width, depth=spec.depth)))


def load_body(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Take everything but the head from another model's weights; the head stays as it was built."""
    body = {name: value for name, value in weights.items() if not name.startswith(HEAD_PREFIX)}
    missing, unexpected = model.load_state_dict(body, strict=False)
    assert not unexpected, unexpected
    assert all(name.startswith(HEAD_PREFIX) for name in missing), missing
