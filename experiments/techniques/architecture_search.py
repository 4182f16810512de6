"""Architecture search: the best family, width and depth under a limit, by successive halving."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor

from experiments.flops import FamilyCost, count_family
from experiments.ledger import Ledger
from experiments.models import FAMILIES, check_buildable, model_arguments
from experiments.techniques.technique import Options, Technique, keep_as_built, read_options
from experiments.training import Training
from experiments.workbench import TrainedModel, Workbench

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from experiments.data import DatasetInfo
    from experiments.spec import TrialSpec
    from experiments.workbench import Machine

DEPTHS = (1, 2, 3, 4)
WIDTHS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


class SearchOptions(Options):
    """What is searched, under which limit, and how thoroughly."""

    limit: Literal["params", "flops"] = Field("flops", description="what is limited: parameters or inference FLOP")
    most: float = Field(0, ge=0, description="the limit; 0 takes what the trial's own model has")
    families: str = Field("", description="families, separated by commas; none: all that can be built")
    candidates: int = Field(8, ge=2, le=256, description="architectures in the first round")
    eta: int = Field(2, ge=2, le=8, description="of how many one is kept in each round")


@dataclass(frozen=True)
class Architecture:
    """A model that could be built under the limit."""

    family: str
    width: int
    depth: int


class SearchEndedError(Exception):
    """The time limit was reached during the search."""

    def __init__(self, training: Training, ledger: Ledger) -> None:
        super().__init__(training.reason)
        self.training, self.ledger = training, ledger


def architecture_search(workbench: Workbench) -> TrainedModel:
    """Search on validation, then train what was found from the start by the trial's settings."""
    spec = workbench.spec
    options = read_options(SearchOptions, spec)
    found = find_candidates(spec, workbench.dataset.info)
    what: dict[str, Any] = {
        **spec.model_dump(mode="json", exclude={"technique", "technique_options", "family", "width", "depth"}),
        "eta": options.eta,
        "candidates": [dataclasses.asdict(one) for one in found],
    }
    try:
        kept = workbench.prepare("search", what, lambda bench: _halve(bench, found, options.eta))
    except SearchEndedError as ended:
        workbench.ledger.charge("search", ended.ledger.phases, elsewhere=False)
        return TrainedModel(workbench.build_model(), ended.training)
    best = found[int(kept["best"])]
    bench = dataclasses.replace(workbench, spec=spec.model_copy(update=dataclasses.asdict(best)))
    trained = bench.train(bench.build_model(), phase="train")
    extra: dict[str, str | float] = {"found_family": best.family, "found_width": best.width, "found_depth": best.depth}
    return dataclasses.replace(trained, extra=extra, architecture=dataclasses.asdict(best))


def find_candidates(spec: TrialSpec, info: DatasetInfo) -> list[Architecture]:
    """Draw architectures under the limit by the trial's seed: per family and depth the widest that is allowed.

    Those that use less than half of what is allowed are left out, unless nothing else is there.

    Raises:
        ValueError: If fewer than two are under the limit.
    """
    options = read_options(SearchOptions, spec)
    most = options.most or _spent(_cost(Architecture(spec.family, spec.width, spec.depth), info), options)
    widest: dict[Architecture, float] = {}
    for family in _families(options, spec, info):
        for depth in DEPTHS:
            allowed = _allowed(family, depth, most, options, info)
            if allowed:
                largest, cost = allowed[-1]
                widest[largest] = cost
    large = [one for one, cost in widest.items() if cost >= most / 2]
    found = large if len(large) >= 2 else list(widest)
    if len(found) < 2:
        raise ValueError(
            f"technique 'architecture-search' finds {len(found)} architectures of at most {most:.4g} {options.limit} "
            "to choose from; raise technique_options.most or name more families"
        )
    random.Random(spec.seed).shuffle(found)
    return found[: options.candidates]


def _allowed(
    family: str, depth: int, most: float, options: SearchOptions, info: DatasetInfo
) -> list[tuple[Architecture, float]]:
    """The widths that are allowed, from the narrowest on, and what they cost; costs rise with width."""
    allowed: list[tuple[Architecture, float]] = []
    for width in WIDTHS:
        one = Architecture(family, width, depth)
        if _can_be_built(one, info):
            cost = _spent(_cost(one, info), options)
            if cost > most:
                break
            allowed.append((one, cost))
    return allowed


def _halve(bench: Workbench, found: Sequence[Architecture], eta: int) -> dict[str, Tensor]:
    """Train all for a few epochs, keep the best, and train those anew for eta times as many, until one is left."""
    remaining, epochs = list(range(len(found))), _first_epochs(bench.spec, len(found), eta)
    while len(remaining) > 1:
        ranks = {number: _rank(bench, found[number], epochs) for number in remaining}
        remaining = sorted(remaining, key=lambda number: ranks[number])[: max(1, len(remaining) // eta)]
        epochs *= eta
    return {"best": torch.tensor(remaining[0])}


def _first_epochs(spec: TrialSpec, n_candidates: int, eta: int) -> float:
    """Epochs of the first round, such that the round after the last would have those of the trial."""
    return spec.epochs / eta ** len(_rounds(n_candidates, eta))


def _rounds(n_candidates: int, eta: int) -> list[int]:
    rounds = []
    while n_candidates > 1:
        rounds.append(n_candidates)
        n_candidates = max(1, n_candidates // eta)
    return rounds


def _rank(bench: Workbench, one: Architecture, epochs: float) -> tuple[float, float]:
    """Validation error and loss, which decide and are charged; those that diverge come last."""
    changes = {**dataclasses.asdict(one), "epochs": epochs, "validation_passes": 1, "selection": "last"}
    inner = dataclasses.replace(bench, spec=bench.spec.model_copy(update=changes))
    training = inner.train(inner.build_model(), phase="train").training
    if training.status == "stopped":
        raise SearchEndedError(training, bench.ledger)
    with bench.ledger.phase("validate") as entry:
        entry.flops += len(bench.validation_images) * _cost(one, bench.dataset.info).inference_flops
    if training.status != "finished":
        return float("inf"), float("inf")
    return training.curve[-1]["validation_error"], training.curve[-1]["validation_loss"]


def _families(options: SearchOptions, spec: TrialSpec, info: DatasetInfo) -> list[str]:
    named = [name.strip() for name in options.families.split(",") if name.strip()]
    for name in named:
        if name not in FAMILIES:
            raise ValueError(
                f"technique 'architecture-search' has families = {options.families!r}, but there is no {name!r}; "
                f"there are {', '.join(FAMILIES)}"
            )
        check_buildable(name, **_arguments(Architecture(name, spec.base_width, 1), info))
    return named or [name for name in FAMILIES if _can_be_built(Architecture(name, spec.base_width, 1), info)]


def _can_be_built(one: Architecture, info: DatasetInfo) -> bool:
    try:
        check_buildable(one.family, **_arguments(one, info))
    except ValueError:
        return False
    return True


def _cost(one: Architecture, info: DatasetInfo) -> FamilyCost:
    return count_family(one.family, **_arguments(one, info))


def _spent(cost: FamilyCost, options: SearchOptions) -> float:
    return float(cost.n_params if options.limit == "params" else cost.inference_flops)


def _arguments(one: Architecture, info: DatasetInfo) -> dict[str, Any]:
    return model_arguments(info, width=one.width, depth=one.depth)


def check(spec: TrialSpec, info: DatasetInfo, machine: Machine) -> None:
    """Refuse a limit under which there is nothing to choose.

    Raises:
        ValueError: With the reason.
    """
    del machine
    find_candidates(spec, info)


def trainings(spec: TrialSpec, info: DatasetInfo) -> Sequence[TrialSpec]:
    """Each round as often as it has candidates, then the winner; all taken to cost what the trial's own model does."""
    options = read_options(SearchOptions, spec)
    n_candidates = len(find_candidates(spec, info))
    epochs = _first_epochs(spec, n_candidates, options.eta)
    parts = []
    for n in _rounds(n_candidates, options.eta):
        parts += [spec.model_copy(update={"epochs": epochs})] * n
        epochs *= options.eta
    return [*parts, spec]


ARCHITECTURE_SEARCH = Technique(
    run=architecture_search,
    summary="the best family, width and depth under a limit, by successive halving",
    options=SearchOptions,
    check=check,
    trainings=trainings,
    phases=("search", "train"),
    check_kept=keep_as_built,
)
