"""A trial's model as MLflow's own type: a logged model, linked to its run, that `mlflow.pyfunc.load_model` loads.

What MLflow is given holds no pickle: a file of the trial's own and the name of the module that loads it. MLflow is
imported when a model is written, not before.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.mlflow_values import is_finite, safe_name

# The tag by which it is known whether MLflow has this very file.
CONTENT_TAG = "content"
PAGE = 100


@dataclass(frozen=True)
class TrialModel:
    """A model as MLflow is told of it.

    Attributes:
        trial_id: The trial.
        name: Shown in MLflow; what it refuses there is replaced.
        file: The model's file.
        loader_module: The module whose ``_load_pyfunc`` loads it, from the Python path.
        requirements: Packages that it needs beside that module, as pip writes them.
        image_shape: Of an input (channels, height, width), in bytes.
        n_classes: Length of an output of logits.
        params: Settings; empty values are left out.
        metrics: Numbers; NaN, infinity and unknown values are left out.
        tags: Further tags.
    """

    trial_id: str
    name: str
    file: Path
    loader_module: str
    requirements: tuple[str, ...]
    image_shape: tuple[int, ...]
    n_classes: int
    params: Mapping[str, Any]
    metrics: Mapping[str, Any]
    tags: Mapping[str, str]


def put_models(
    client: Any, experiment_id: str, sweep: str, models: Sequence[TrialModel], runs: Mapping[str, str]
) -> None:
    """Make the logged models of a sweep those that are given.

    One that MLflow has of the same file and run is left alone; any other of the sweep is taken out of view, so that
    what is written twice is there once.

    Args:
        client: MLflow's client.
        experiment_id: Where the sweep's runs are.
        sweep: The sweep, whose name stands in a tag.
        models: What is to be there.
        runs: Ids of the trials' runs by trial id.
    """
    missing = {(runs[model.trial_id], _content(model.file)): model for model in models}
    for logged in _logged(client, experiment_id, sweep):
        key = (logged.source_run_id, logged.tags.get(CONTENT_TAG))
        is_whole = str(logged.status.value) == "READY"
        if key not in missing or not is_whole:
            client.delete_logged_model(logged.model_id)
        else:
            del missing[key]
    for (run_id, content), model in missing.items():
        _put(client, experiment_id, run_id, model, {**model.tags, "sweep": sweep, CONTENT_TAG: content})


def _put(client: Any, experiment_id: str, run_id: str, model: TrialModel, tags: Mapping[str, str]) -> None:
    """Write one model: begun, filled, linked to its run, and only then said to be ready."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric

    logged = client.create_logged_model(
        experiment_id,
        name=re.sub(r"[/:.%\"']", "-", model.name),
        source_run_id=run_id,
        tags={**tags, "trial_id": model.trial_id},
        params={safe_name(name): str(value) for name, value in model.params.items() if value not in (None, "")},
        model_type="classifier",
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        with warnings.catch_warnings():
            # MLflow warns of types of its own, whenever this part of it is imported, and wants an example of an input.
            warnings.simplefilter("ignore", UserWarning)
            _write_folder(folder, model, model_id=logged.model_id, run_id=run_id)
        client.log_model_artifacts(logged.model_id, str(folder))
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    # At the run's own time, so that the run keeps one point of each.
    moment = client.get_run(run_id).info.end_time
    numbers = {safe_name(name): float(value) for name, value in model.metrics.items() if is_finite(value)}
    client.log_batch(
        run_id, metrics=[Metric(name, value, moment, 0, model_id=logged.model_id) for name, value in numbers.items()]
    )
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)


def _write_folder(folder: Path, model: TrialModel, *, model_id: str, run_id: str) -> None:
    """Write a folder of MLflow's form around the model's file."""
    import numpy as np
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import Schema, TensorSpec

    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, *model.image_shape))]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, model.n_classes))]),
    )
    pyfunc.save_model(
        str(folder),
        loader_module=model.loader_module,
        data_path=str(model.file),
        mlflow_model=Model(model_id=model_id, run_id=run_id),
        signature=signature,
        pip_requirements=list(model.requirements),
    )


def _logged(client: Any, experiment_id: str, sweep: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_logged_models(
            [experiment_id], f"tags.sweep = '{sweep}'", max_results=PAGE, page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def _content(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
