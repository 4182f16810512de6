"""A trial: all that changes its result, and nothing else. Its id is a hash of its content."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

# Raised when the meaning of a field changes, so that old records are not taken for new ones.
SPEC_VERSION = 1

Whole = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Strict(BaseModel):
    """A frozen value that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class TrialSpec(Strict):
    """One trial: everything that changes its result. Hardware, paths and trackers stand outside."""

    dataset: str = Field(description="a data set's name, or `module:function` that returns one")
    family: str = Field(description="a model family's name, or `module:function` that builds one")
    width: Whole = Field(description="width of the model")
    depth: Whole = Field(description="depth of the model")
    n_train: Whole = Field(description="training examples; subsets are nested and class-balanced")
    epochs: Positive = Field(30, description="passes over the training examples; may be a fraction")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of initialisation, subset and order")
    technique: str = Field("baseline", description="efficiency technique, or `module:function`")
    technique_options: dict[str, float | int | str | bool] = Field(
        default_factory=dict, description="the technique's own parameters"
    )
    batch_size: Whole = Field(32, description="examples per step; at most n_train is used")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="optimiser")
    learning_rate: Positive = Field(0.01, description="peak rate at base_width")
    base_width: Whole = Field(16, description="width at which the learning rate means itself (muP)")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay")
    momentum: Share = Field(0.9, description="momentum of sgd")
    schedule: Literal["cosine", "wsd", "constant"] = Field(
        "cosine", description="decay after warm-up: cosine to 0, or stable then linear to 0"
    )
    warmup_fraction: Share = Field(0.05, description="share of the steps with a rising rate")
    decay_fraction: Share = Field(0.2, description="share of the steps in which wsd decays")
    label_smoothing: Share = Field(0.0, description="label smoothing")
    gradient_clip: float = Field(0.0, ge=0, description="largest gradient norm; 0 clips nothing")
    augmentation: Literal["none", "shift", "flip", "shift-flip"] = Field(
        "none", description="random translation by up to an eighth of the image, mirror image"
    )
    precision: Literal["fp32", "bf16"] = Field("fp32", description="arithmetic of the forward pass")
    selection: Literal["last", "best"] = Field(
        "last", description="final weights, or those of the best validation pass (which is charged)"
    )
    validation_passes: Whole = Field(6, description="points of the training curve, the last at its end")

    @property
    def trial_id(self) -> str:
        """Hash of the content: 16 hexadecimal digits."""
        return _digest(self.model_dump(mode="json"))

    @property
    def cell(self) -> str:
        """Hash of the content without the seed: the trials of a cell differ by chance alone."""
        return _digest(self.model_dump(mode="json", exclude={"seed"}))

    @property
    def tuning_cell(self) -> str:
        """Hash without the learning rate either: cells between which validation chooses."""
        return _digest(self.model_dump(mode="json", exclude={"seed", "learning_rate"}))


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps({"spec_version": SPEC_VERSION, **content}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
