"""Sweep files: a strict reading of the YAML, and the trials it stands for."""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator

from cluster.mlflow_errors import without_password
from experiments.rules import rule_text
from experiments.spec import Strict, TrialSpec

Axis = Any  # a value, a list of values, or a range; checked by `axis_values`

OPTION_PREFIX = "technique_options."


class ResourcesSpec(Strict):
    """What one trial is given."""

    cpus: float = Field(1, ge=0, description="cores; torch uses as many threads")
    gpus: float = Field(0, ge=0, description="GPUs, fractions allowed")
    memory_gib: float | None = Field(None, gt=0, description="memory that Ray reserves")
    custom: dict[str, float] = Field(default_factory=dict, description="custom resources of the cluster")


class ExecutionSpec(Strict):
    """How trials are executed, as far as it does not change what they find."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA if the trial has a GPU")
    compile: bool = Field(False, description="torch.compile; pays for long trials")
    channels_last: bool = Field(False, description="memory layout of convolutions; pays on GPUs")
    time_limit_seconds: float | None = Field(None, gt=0, description="a trial is stopped after this long")
    data_parallel: int = Field(1, ge=1, le=64, description="processes that train one model together, one per GPU")
    checkpoint_seconds: float | None = Field(
        300, gt=0, description="a trial leaves a checkpoint every so often, to go on from if it is ended; none: never"
    )


class TrackingSpec(Strict):
    """Where MLflow keeps its copy, and whether models are kept there and beside the results."""

    uri: str | None = Field(None, description="tracking server; none: a SQLite file beside the results")
    experiment: str | None = Field(None, description="MLflow experiment; none: ninthpower/<name>")
    models: Literal["none", "best", "all"] = Field(
        "none", description="trained models that are kept; best: of each technique on each data set, by validation"
    )

    @field_validator("uri")
    @classmethod
    def _address_holds_no_password(cls, uri: str | None) -> str | None:
        """A sweep file is kept beside its results, in MLflow and in git."""
        if uri is not None and re.search(r"//[^/:@]*:.*@", uri):
            raise ValueError(
                "an address with a password; a sweep file is kept in many places: give the password in "
                "MLFLOW_TRACKING_PASSWORD or PGPASSWORD, or the whole address by --tracking-uri"
            )
        return uri


class EnergySpec(Strict):
    """What turns joules and hours into carbon and money."""

    region: str | None = Field(None, description="ISO country code of three letters, such as USA or FRA")
    price_per_kwh: float | None = Field(None, ge=0, description="price of electricity")
    price_per_hour: float | None = Field(None, ge=0, description="price of the machine")
    currency: str = Field("USD", min_length=1, max_length=8, description="currency of the prices")


class FitSpec(Strict):
    """What the sweep's own fit relates."""

    cost: str = Field("train_flops", description="cost column of the runs table")
    error: str = Field("test_error", description="error column of the runs table")
    laws: tuple[str, ...] = Field(("power", "saturating"), min_length=1, description="laws fitted side by side")
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of whole cells")
    level: float = Field(0.95, gt=0, lt=1, description="level of the intervals")

    @field_validator("error")
    @classmethod
    def _error_is_not_its_own_cost(cls, error: str, info: ValidationInfo) -> str:
        if error == info.data.get("cost"):
            raise ValueError("that is the cost too; name another column for one of the two")
        return error


class SweepSpec(Strict):
    """A sweep: trials on a grid, at explicit points, or both."""

    name: str = Field(description="name of the sweep and of its results folder")
    description: str = Field("", description="what the sweep is for, in Markdown")
    dataset: str = Field("digits", description="data set, unless the grid names it")
    family: str = Field("resnet", description="model family, unless the grid names it")
    grid: dict[str, Axis] = Field(default_factory=dict, description="values per field of the trial")
    points: tuple[dict[str, Axis], ...] = Field((), description="more trials, one mapping each")
    training: dict[str, Any] = Field(default_factory=dict, description="defaults for fields of the trial")
    resources: ResourcesSpec = Field(default_factory=ResourcesSpec)
    execution: ExecutionSpec = Field(default_factory=ExecutionSpec)
    tracking: TrackingSpec = Field(default_factory=TrackingSpec)
    energy: EnergySpec = Field(default_factory=EnergySpec)
    fit: FitSpec = Field(default_factory=FitSpec)

    @field_validator("name")
    @classmethod
    def _name_is_a_plain_word(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise ValueError(
                f"{name!r} is no name: use up to 64 letters, digits, '.', '_' and '-', a letter or digit first"
            )
        return name

    @property
    def experiment(self) -> str:
        """The MLflow experiment that holds the sweep's runs."""
        return self.tracking.experiment or f"ninthpower/{self.name}"

    def trials(self) -> list[TrialSpec]:
        """The trials, each once, in the order of the file: the grid first, then the points.

        Raises:
            ValueError: If a field, a range or a value is not allowed; the message says where.
        """
        for key in self.training:
            if key not in TrialSpec.model_fields:
                raise ValueError(f"training.{key} is no field of a trial{_nearest(key, TrialSpec.model_fields)}")
        defaults = {"dataset": self.dataset, "family": self.family, **self.training}
        blocks = ([("grid", self.grid)] if self.grid else []) + [
            (f"points[{number}]", point) for number, point in enumerate(self.points)
        ]
        if not blocks:
            raise ValueError("the sweep has no trials: give a grid, points, or both")
        found: dict[str, TrialSpec] = {}
        for place, block in blocks:
            for trial in _expand(block, defaults, place):
                found.setdefault(trial.trial_id, trial)
        return list(found.values())


def load_sweep(path: Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """Read a sweep file, with ``key.path=value`` overrides from the command line.

    Raises:
        ValueError: If the file is missing, is no YAML mapping, or has a key or value that is not
            allowed; the message gives the place, the value and the nearest valid key.
    """
    if not path.is_file():
        shipped = ", ".join(sorted(file.name for file in (Path(__file__).parent / "sweeps").glob("*.yaml")))
        raise ValueError(f"there is no sweep file {path}; the sweeps that ship are {shipped}")
    try:
        content = _KeysOnce(path.read_text(encoding="utf-8")).get_single_data()
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if content is None:
        raise ValueError(f"{path} is empty; ninthpower init writes a sweep file to begin with")
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {type(content).__name__}, not a mapping of keys to values")
    for override in overrides:
        _apply(content, override)
    try:
        return parse_sweep(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


class _KeysOnce(yaml.SafeLoader):
    """YAML's safe loader, which takes the last of two equal keys, refusing them instead."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping whose keys all differ."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                line = key.start_mark.line + 1
                raise ValueError(f"the key {key.value!r} is there twice, again in line {line}; keep one of the two")
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


def parse_sweep(content: Mapping[str, Any]) -> SweepSpec:
    """Check a sweep given as nested mappings, down to its last trial.

    Raises:
        ValueError: As for `load_sweep`, without the file's name.
    """
    try:
        sweep = SweepSpec.model_validate(content)
    except ValidationError as error:
        raise ValueError(_explain(error, SweepSpec)) from None
    sweep.trials()
    return sweep


def axis_values(field: str, axis: Axis) -> list[Any]:
    """Expand a value, a list, ``{log2: [4, 64]}`` or ``{geometric: {from:, to:, points:}}``.

    Ranges are rounded to whole numbers for whole-number fields, and repetitions dropped. A technique may be
    ``{pruning: {density: [0.5, 0.2]}}``: its options are axes of its own, and each value is a pair of name and options.

    Raises:
        ValueError: If a range is malformed or empty.
    """
    if field == "technique":
        return [pair for entry in _entries(axis) for pair in _technique_values(entry)]
    if isinstance(axis, dict) and field != "technique_options":
        values: list[Any] = _range_values(field, axis)
        if _is_whole(field):
            values = [round(value) for value in values]
        return list(dict.fromkeys(values))
    if isinstance(axis, list):
        if not axis:
            raise ValueError(f"{field} is an empty list; give at least one value")
        return list(axis)
    return [axis]


def _entries(axis: Axis) -> list[Any]:
    if axis == []:
        raise ValueError("technique is an empty list; give at least one value")
    return axis if isinstance(axis, list) else [axis]


def _technique_values(entry: Any) -> list[tuple[Any, dict[str, Any]]]:
    if not isinstance(entry, dict):
        return [(entry, {})]
    if len(entry) != 1 or not isinstance(options := next(iter(entry.values())), dict):
        raise ValueError(f"technique {entry!r} is no name and no {{name: {{option: [values]}}}}")
    axes = [axis_values(f"technique_options.{name}", axis) for name, axis in options.items()]
    name = next(iter(entry))
    return [(name, dict(zip(options, values, strict=True))) for values in itertools.product(*axes)]


def _expand(block: Mapping[str, Axis], defaults: dict[str, Any], place: str) -> list[TrialSpec]:
    for key in block:
        if key not in TrialSpec.model_fields and not key.startswith(OPTION_PREFIX):
            raise ValueError(f"{place}.{key} is no field of a trial{_nearest(key, TrialSpec.model_fields)}")
    try:
        axes = [axis_values(key, axis) for key, axis in block.items()]
    except ValueError as error:
        raise ValueError(f"{place}.{error}") from None
    return [
        _trial(_merged(defaults, dict(zip(block, values, strict=True))), place, block)
        for values in itertools.product(*axes)
    ]


def _merged(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    options = dict(values.get("technique_options", defaults.get("technique_options", {})))
    fields = {key: value for key, value in values.items() if not key.startswith(OPTION_PREFIX)}
    if isinstance(fields.get("technique"), tuple):
        fields["technique"], own_options = fields["technique"]
        options |= own_options
    for key, value in values.items():
        if key.startswith(OPTION_PREFIX):
            options[key.removeprefix(OPTION_PREFIX)] = value
    return {**defaults, **fields, "technique_options": options}


def _trial(fields: dict[str, Any], place: str, block: Mapping[str, Axis]) -> TrialSpec:
    try:
        return TrialSpec.model_validate(fields)
    except ValidationError as error:
        said = _explain(error, TrialSpec)
        field = str((error.errors()[0]["loc"] or ("",))[0])
        if error.error_count() == 1 and said.startswith(f"{field} is "):
            raise ValueError(f"{place if field in block else 'training'}.{said}") from None
        raise ValueError(f"{place} and training together: {said}") from None


def _range_values(field: str, axis: dict[str, Any]) -> list[float]:
    form = f"{field} is {axis!r}; a range is {{log2: [4, 64]}} or {{geometric: {{from: 10, to: 1000, points: 5}}}}"
    if set(axis) == {"log2"} and isinstance(axis["log2"], list) and len(axis["log2"]) == 2:
        low, high = (_number(value, form) for value in axis["log2"])
        if not 0 < low <= high:
            raise ValueError(f"{form} with 0 < first <= last")
        return [low * 2**step for step in range(math.floor(math.log2(high / low) + 1e-9) + 1)]
    inner = axis.get("geometric")
    if set(axis) == {"geometric"} and isinstance(inner, dict) and set(inner) == {"from", "to", "points"}:
        low, high = _number(inner["from"], form), _number(inner["to"], form)
        points = inner["points"]
        if not (0 < low <= high and isinstance(points, int) and 2 <= points <= 1000):
            raise ValueError(f"{form} with 0 < from <= to and 2 to 1,000 points")
        return [low * (high / low) ** (step / (points - 1)) for step in range(points)]
    raise ValueError(form + _misspelt_range(axis))


def _misspelt_range(axis: dict[str, Any]) -> str:
    """What a range with a wrong key was probably to be; nothing where no key is near."""
    allowed, keys = ["log2", "geometric"], set(axis)
    inner = axis.get("geometric")
    if keys == {"geometric"} and isinstance(inner, dict):
        allowed, keys = ["from", "to", "points"], set(inner)
    for key in sorted(map(str, keys - set(allowed))):
        near = difflib.get_close_matches(key, allowed, n=1)
        if near:
            return f"; {key!r} is no key of it: did you mean {near[0]!r}?"
    missing = [name for name in allowed if name not in keys]
    return f"; it lacks {missing[0]!r}" if "points" in allowed and missing else ""


def _number(value: Any, form: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(form)
    return value


def _is_whole(field: str) -> bool:
    return field in ("width", "depth", "n_train", "seed", "batch_size", "base_width", "validation_passes")


def _apply(content: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ValueError(f"--set {override!r} is not of the form key.path=value, such as grid.width=[8,16]")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ValueError(f"--set {override!r}: {text!r} is no YAML value") from None
    parts = key.strip().split(".")
    place = content
    if parts[0] in ("grid", "training") and len(parts) > 2:
        parts = [parts[0], ".".join(parts[1:])]
    for part in parts[:-1]:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise ValueError(f"--set {override!r}: {part} is no mapping in the sweep file")
    place[parts[-1]] = value


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    # An unknown key first: it is often why another is missing.
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    place = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        key, allowed = str(first["loc"][-1]), _fields_at(model, first["loc"][:-1])
        meant = difflib.get_close_matches(key, list(TrialSpec.model_fields), n=1)
        if model is SweepSpec and place == key and meant and not difflib.get_close_matches(key, allowed, n=1):
            return (
                f"unknown key {place!r} at the top of the file; did you mean {meant[0]!r} below training, or below "
                f"grid for several values?{more}"
            )
        return f"unknown key {place!r}{_nearest(key, allowed)}{more}"
    if first["type"] == "missing":
        return f"the key {place!r} is missing{more}"
    value = without_password(repr(first["input"]), "...@")
    # A validator's own words hold their remedy.
    default = "" if first["type"] == "value_error" else _default(model, first["loc"])
    return f"{place} is {value}{rule_text(first)}{default}{more}"


def _fields_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            break
        model = field.annotation
    return list(model.model_fields)


def _default(model: type[BaseModel], location: tuple[Any, ...]) -> str:
    """The default of the key at fault as a remedy, where it has one to write down."""
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return ""
        model = field.annotation
    field = model.model_fields.get(str(location[-1]))
    default = None if field is None or field.is_required() else field.get_default(call_default_factory=False)
    if isinstance(default, bool):
        return f"; leave it out for {str(default).lower()}"
    return f"; leave it out for {default!r}" if isinstance(default, int | float | str) and default != "" else ""


def _nearest(key: str, allowed: Any) -> str:
    near = difflib.get_close_matches(key, list(allowed), n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; allowed are {', '.join(sorted(allowed))}"
