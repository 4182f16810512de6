"""The state of a training in the middle of it, as plain tensors and numbers: taken, and put back."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from experiments.images import ImageBatches

State = dict[str, Any]


class CheckpointMismatchError(Exception):
    """A checkpoint is of another model than the one that the trial has come to this time; the trial begins again.

    On a CPU a trial comes to the same model every time. On a GPU sums are taken in any order, so that, for one,
    another channel may be pruned.
    """


class Stateful(Protocol):
    """Whatever changes while a model is trained, beside the model: masks, accounts."""

    def state_dict(self) -> State:
        """Its state as tensors and plain data."""

    def load_state_dict(self, state: State) -> None:
        """Put a state back."""


class Continuation(Protocol):
    """Where a training was left by an earlier attempt, and where its state is kept on the way."""

    def found(self) -> State | None:
        """The state in which an earlier attempt left this training; None if it has to begin."""

    def is_due(self, n_examples: int) -> bool:
        """Hear how many examples have been learnt from, and say whether the state should be kept now."""

    def keep(self, take: Callable[[], State]) -> None:
        """Keep the state on the way."""

    def ended(self, take: Callable[[], State]) -> None:
        """Keep the state at the end, from which the trial's later parts follow."""


@dataclass
class Training:
    """How a training ended, and what it saw on the way."""

    status: str
    reason: str
    n_steps: int
    n_examples: int
    curve: list[dict[str, Any]] = field(default_factory=list)
    best_weights: dict[str, Tensor] | None = None
    best_point: dict[str, Any] | None = None
    n_validation_passes: int = 0


@dataclass
class TrainingState:
    """All that decides how a training goes on, beside its settings.

    Attributes:
        model: The model, compiled or not.
        optimizer: Its weights may be more than the model's.
        batches: Where the examples come from.
        result: What has happened so far.
        parts: What else changes with the steps.
        loss_limit: Above it the training has diverged [nat].
        losses: Of the steps since the last point of the curve [nat].
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    batches: ImageBatches
    result: Training
    parts: Sequence[Stateful]
    loss_limit: float
    losses: list[Tensor] = field(default_factory=list)

    def take(self) -> State:
        """A copy of it on the processor, with nothing in it that would have to be executed on reading."""
        state: State = {
            "model": self._plain_model.state_dict(),
            "others": self._other_weights(),
            "optimizer": self.optimizer.state_dict(),
            "batches": self.batches.state_dict(),
            "result": vars(self.result),
            "parts": [part.state_dict() for part in self.parts],
            "loss_limit": self.loss_limit,
            "losses": self.losses,
            "chance": global_chance(),
        }
        return _copied(state)

    def take_end(self) -> State:
        """The same at the end of a training, without what only further steps would need."""
        state = self.take()
        del state["optimizer"]
        return state

    @torch.no_grad()
    def put_back(self, state: State) -> None:
        """Go on from a state.

        Raises:
            CheckpointMismatchError: If it is that of another model.
        """
        try:
            self._put_back(state)
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointMismatchError(f"it is of another model ({str(error).splitlines()[0]})") from error

    def _put_back(self, state: State) -> None:
        self._plain_model.load_state_dict(state["model"])
        for weight, value in zip(self._other_weights(), state["others"], strict=True):
            weight.copy_(value)
        if "optimizer" in state:
            self.optimizer.load_state_dict(state["optimizer"])
        self.batches.load_state_dict(state["batches"])
        vars(self.result).update(state["result"])
        for part, of_part in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(of_part)
        self.loss_limit = state["loss_limit"]
        self.losses[:] = [loss.to(self.batches.device) for loss in state["losses"]]
        set_global_chance(state["chance"])

    @property
    def _plain_model(self) -> nn.Module:
        return getattr(self.model, "_orig_mod", self.model)  # torch.compile wraps the model

    def _other_weights(self) -> list[Tensor]:
        """What the optimiser changes beside the model, such as a projection between two models' features."""
        own = {id(weight) for weight in self._plain_model.parameters()}
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        return [weight for weight in weights if id(weight) not in own]


def global_chance() -> State:
    """States of the process' own random generators."""
    name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002 - a user's own code may draw from it
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "python": random.getstate(),
        "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
    }


def set_global_chance(state: State) -> None:
    """Put the states of the process' own random generators back."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"])
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002


def _copied(value: Any) -> Any:
    """Copy tensors and containers, the containers as plain ones."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return tuple(_copied(one) for one in value)
    if isinstance(value, list):
        return [_copied(one) for one in value]
    return value
