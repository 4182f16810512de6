"""What a technique is: a function of a workbench, its options, and what it refuses before anything is spent."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from experiments.rules import rule_text
from experiments.spec import Strict, TrialSpec

if TYPE_CHECKING:
    from experiments.data import DatasetInfo
    from experiments.machine import Machine
    from experiments.workbench import TrainedModel, Workbench


class Options(Strict):
    """A technique's own parameters; each is a grid axis. This one has none.

    A trial's id holds the options that were given and not their defaults: where a default changes, so does what an id
    means, and `experiments.spec.SPEC_VERSION` has to be raised once records with the old one are about.
    """


AnyOptions = TypeVar("AnyOptions", bound=Options)


def accept(spec: TrialSpec, info: DatasetInfo, machine: Machine) -> None:
    """Refuse nothing: the technique applies to every family, data set and device."""
    del spec, info, machine


def one_training(spec: TrialSpec) -> Sequence[TrialSpec]:
    """Plan a single training of the trial itself."""
    return [spec]


@dataclass(frozen=True)
class Earlier:
    """Trainings that come before a trial's own, and that a node makes once for all trials that need them.

    Attributes:
        key: The same for trials that share them; of `shared_key`.
        trainings: Trainings whose cost together is about theirs.
    """

    key: str
    trainings: Sequence[TrialSpec]


def shared_key(phase: str, what: Mapping[str, Any]) -> str:
    """Name what trials share for the plan, by what `Workbench.prepare` is given for it."""
    return json.dumps({"phase": phase, **what}, sort_keys=True)


def nothing_earlier(spec: TrialSpec, info: DatasetInfo) -> Earlier | None:
    """Plan nothing that trials share."""
    del spec, info
    return None


def nothing_beside(spec: TrialSpec, info: DatasetInfo) -> float:
    """Plan no FLOP beside those of trainings."""
    del spec, info
    return 0.0


def keep_as_built(spec: TrialSpec) -> None:
    """Let models be kept: what is deployed is a network that its family builds, with other weights."""
    del spec


def refuse_to_keep(spec: TrialSpec) -> None:
    """Refuse to keep models of a technique that does not say whether they can be built again.

    Raises:
        ValueError: With the remedy.
    """
    del spec
    raise ValueError(
        "it does not say that its model is a network that the family builds; if it is, give it a Technique with "
        "check_kept=keep_as_built"
    )


@dataclass(frozen=True)
class Technique:
    """A way of getting a model.

    Attributes:
        run: Trains the model of a workbench's trial; whatever it spends it spends inside a phase of the
            workbench's ledger.
        summary: What it is, in a few words.
        options: Its parameters with their defaults and ranges; None takes any, unchecked.
        check: Raises a `ValueError` with the reason where the technique cannot be applied to a trial.
        trainings: For the plan: trainings of the family's networks whose cost together is about what the trial
            spends for itself alone.
        earlier: For the plan: what comes before and is made once for all trials that need the same.
        flops_beside: For the plan: FLOP of anything that is no training of a family's network.
        phases: Names of the phases that it enters.
        data_parallel: Whether several processes may run it together, each coming to the same model by itself.
        check_kept: Raises a `ValueError` with the reason where the model of a trial cannot be kept: it is not a
            network that its family builds, at the width and depth of the trial or of `TrainedModel.architecture`.
    """

    run: Callable[[Workbench], TrainedModel]
    summary: str
    options: type[Options] | None = Options
    check: Callable[[TrialSpec, DatasetInfo, Machine], None] = accept
    trainings: Callable[[TrialSpec], Sequence[TrialSpec]] = one_training
    earlier: Callable[[TrialSpec, DatasetInfo], Earlier | None] = nothing_earlier
    flops_beside: Callable[[TrialSpec, DatasetInfo], float] = nothing_beside
    phases: tuple[str, ...] = ("train",)
    data_parallel: bool = False
    check_kept: Callable[[TrialSpec], None] = refuse_to_keep


def read_options(options: type[AnyOptions], spec: TrialSpec) -> AnyOptions:
    """Read a trial's options of its technique, completed by their defaults.

    Raises:
        ValueError: If an option is unknown, with the nearest one, or its value is not allowed.
    """
    try:
        return options.model_validate(spec.technique_options)
    except ValidationError as error:
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            message = f"has no option {name!r}{_nearest(name, options)}"
        elif first["type"] == "missing":
            message = f"needs the option {name!r}; give technique_options.{name}"
        else:
            message = f"has {name} = {first['input']!r}{rule_text(first)}"
        raise ValueError(f"technique {spec.technique!r} {message}") from None


def _nearest(name: str, options: type[Options]) -> str:
    if not options.model_fields:
        return "; it has none, remove it"
    near = difflib.get_close_matches(name, options.model_fields, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(options.model_fields)}"
