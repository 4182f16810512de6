"""Training, from the first step to the last, in the order in which things happen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.images import ImageBatches
from experiments.ranks import Ranks
from experiments.spec import TrialSpec
from experiments.training_state import Continuation, Stateful, Training, TrainingState

# A run whose loss exceeds this many times the loss of guessing has diverged. Assumed: healthy runs
# here stayed below 3, and a run past 20 never came back.
DIVERGED_LOSS_FACTOR = 20.0
# How often the loss is read back from a GPU, where reading waits for the device.
GPU_STEPS_BETWEEN_CHECKS = 20

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def train(
    model: nn.Module,
    batches: ImageBatches,
    spec: TrialSpec,
    *,
    parameter_groups: list[dict[str, Any]],
    validate: Callable[[nn.Module], tuple[float, float]],
    loss_function: Loss | None = None,
    after_step: Callable[[int, int], None] | None = None,
    deadline: float = math.inf,
    flops_per_example: float = 0.0,
    parts: Sequence[Stateful] = (),
    continuation: Continuation | None = None,
    ranks: Ranks | None = None,
) -> Training:
    """Train a model in place and return what happened.

    Batches are always full: the examples come as one stream of permutations, so that the FLOP of a
    training are steps x batch size x FLOP per example, exactly.

    Args:
        model: On its device. Its weights are changed.
        batches: Training images, shuffled by their own generator.
        spec: Rate, schedule, steps and the other choices.
        parameter_groups: For the optimiser, with ``lr`` as the peak rate of each group.
        validate: Returns (error, loss in nats) on validation; called `spec.validation_passes` times.
        loss_function: Loss of (model, images, labels); cross-entropy by default. Another one's first value
            counts as that of guessing where it is larger.
        after_step: Called with (steps done, steps in all) after each update, to hold masks and the like.
        deadline: Reading of `time.perf_counter` after which the training stops.
        flops_per_example: For the curve's cost axis [FLOP].
        parts: What changes with the steps beside the model, so that it can be taken up again.
        continuation: Where an earlier attempt may have left this training, and where it is kept on the way.
        ranks: This process among those that train the model together; alone if not given. All of them are to
            be called with the same arguments.

    Returns:
        The outcome; `status` is finished, diverged or stopped. With ``selection: best`` the best
        validation pass's weights are kept in `best_weights`, and the caller decides to load them.
    """
    own_loss = loss_function is not None
    loss_function = loss_function or cross_entropy(spec.label_smoothing)
    ranks = ranks or Ranks()
    device = batches.device
    n_steps = count_steps(spec)
    batch_size = min(spec.batch_size, spec.n_train)
    points = curve_steps(n_steps, spec.validation_passes)
    checks = 1 if device.type == "cpu" else GPU_STEPS_BETWEEN_CHECKS

    optimizer = make_optimizer(spec, parameter_groups)
    peak_rates = [group["lr"] for group in optimizer.param_groups]
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=spec.precision == "bf16")
    result = Training("finished", "", 0, 0)
    loss_limit = DIVERGED_LOSS_FACTOR * math.log(batches.n_classes)
    state = TrainingState(model, optimizer, batches, result, parts, loss_limit)
    losses = state.losses
    if continuation is not None and (found := continuation.found()) is not None:
        state.put_back(found)

    with ranks.joined(model) as joined:
        model.train()
        stream = batches.stream(batch_size, n_steps, n_done=result.n_steps)
        for step, (images, labels) in enumerate(stream, start=result.n_steps + 1):
            factor = rate_factor(step, n_steps, spec)
            for group, peak in zip(optimizer.param_groups, peak_rates, strict=True):
                group["lr"] = factor * peak

            with autocast:
                loss = loss_function(joined, ranks.part(images), ranks.part(labels))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if spec.gradient_clip:
                nn.utils.clip_grad_norm_(model.parameters(), spec.gradient_clip)
            optimizer.step()
            if after_step is not None:
                after_step(step, n_steps)

            losses.append(ranks.mean(loss.detach()))
            if own_loss and step == 1:  # its scale is not that of guessing: weighted terms, softened logits
                state.loss_limit = max(state.loss_limit, DIVERGED_LOSS_FACTOR * float(losses[0]))
            result.n_steps = step
            result.n_examples = step * batch_size
            if step % checks == 0 or step in points:
                value = float(losses[-1])
                if not math.isfinite(value) or value > state.loss_limit:
                    result.status = "diverged"
                    result.reason = f"training loss {value:.3g} nat at step {step} of {n_steps}"
                    break
                if deadline < math.inf and ranks.any(time.perf_counter() > deadline, device):
                    result.status = "stopped"
                    result.reason = f"time limit reached at step {step} of {n_steps}"
                    break
            if step in points:
                look = partial(ranks.from_first, partial(validate, model), device)
                point = _curve_point(result, losses, look, spec, flops_per_example)
                losses.clear()
                model.train()
                if not (math.isfinite(point["train_loss"]) and math.isfinite(point["validation_loss"])):
                    result.status = "diverged"
                    result.reason = f"loss is not finite at step {step} of {n_steps}"
                    break
                result.curve.append(point)
                if spec.selection == "best":
                    _keep_if_best(result, model, point)
            if continuation is not None and step % checks == 0 and continuation.is_due(result.n_examples):
                continuation.keep(state.take)
    if continuation is not None and result.status == "finished":
        continuation.ended(state.take_end)
    return result


def count_steps(spec: TrialSpec) -> int:
    """Number of updates: epochs x examples over the batch size, at least one."""
    batch_size = min(spec.batch_size, spec.n_train)
    return max(1, round(spec.epochs * spec.n_train / batch_size))


def curve_steps(n_steps: int, n_points: int) -> set[int]:
    """Steps at which the curve is measured: spaced evenly in log steps, the last step included."""
    if n_points == 1:
        return {n_steps}
    first = max(1.0, n_steps / 2 ** (n_points - 1))
    return {round(first * (n_steps / first) ** (point / (n_points - 1))) for point in range(n_points)}


def rate_factor(step: int, n_steps: int, spec: TrialSpec) -> float:
    """Learning rate at a step, as a share of its peak.

    Linear warm-up from 0 over `warmup_fraction` of the steps, then by `schedule`: half a cosine to 0
    (Loshchilov and Hutter 2017), or stable with a linear decay to 0 over the last `decay_fraction`
    (Hu et al. 2024), or constant.
    """
    warmup = spec.warmup_fraction * n_steps
    if step < warmup:
        return step / warmup
    if spec.schedule == "constant":
        return 1.0
    if spec.schedule == "cosine":
        done = (step - warmup) / max(1.0, n_steps + 1 - warmup)
        return 0.5 * (1 + math.cos(math.pi * done))
    decay = max(1.0, spec.decay_fraction * n_steps)
    return min(1.0, (n_steps + 1 - step) / decay)


def make_optimizer(spec: TrialSpec, parameter_groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019) or SGD with Nesterov momentum, in their fused forms."""
    if spec.optimizer == "adamw":
        return torch.optim.AdamW(parameter_groups, fused=True)
    nesterov = spec.momentum > 0
    return torch.optim.SGD(parameter_groups, momentum=spec.momentum, nesterov=nesterov, fused=True)


def cross_entropy(label_smoothing: float = 0.0) -> Loss:
    """Mean cross-entropy of a model's logits [nat]."""

    def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(model(images), labels, label_smoothing=label_smoothing)

    return loss


def _curve_point(
    result: Training,
    losses: list[Tensor],
    look: Callable[[], tuple[float, float]],
    spec: TrialSpec,
    flops_per_example: float,
) -> dict[str, Any]:
    error, loss = look()
    result.n_validation_passes += 1
    return {
        "step": result.n_steps,
        "epoch": result.n_examples / spec.n_train,
        "train_flops": result.n_examples * flops_per_example,
        "train_loss": float(torch.stack(losses).float().mean()),
        "validation_error": error,
        "validation_loss": loss,
    }


def _keep_if_best(result: Training, model: nn.Module, point: dict[str, Any]) -> None:
    def rank(one: dict[str, Any]) -> tuple[float, float]:
        return one["validation_error"], one["validation_loss"]

    if result.best_point is None or rank(point) < rank(result.best_point):
        result.best_point = point
        result.best_weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
