"""Trained models that are kept: a file of plain values and weights, from which the network is built again.

Nothing in such a file is a pickled object: `torch.load` reads it with ``weights_only=True``. What it names is built
by the family's own code, which is on this machine already. MLflow loads it through this module, see `_load_pyfunc`.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cluster.models import MODEL_SUFFIX, MODELS_FOLDER, model_path
from experiments.evaluation import EVALUATION_BATCH
from experiments.images import normalised
from experiments.models import build_model, model_arguments
from experiments.spec import TrialSpec

if TYPE_CHECKING:
    from experiments.workbench import TrainedModel, Workbench

MODEL_VERSION = 1


@dataclass(frozen=True)
class KeptModel:
    """A trained classifier, as its trial measured it.

    Attributes:
        spec: The trial.
        network: From normalised images (n, channels, height, width) to logits (n, n_classes), on the CPU, set to
            evaluation.
        mean, std: Per channel, in [0, 1]: what images are normalised by.
        precision: Arithmetic of the forward pass: ``fp32`` or ``bf16``.
    """

    spec: TrialSpec
    network: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    precision: str

    def predict(self, images: NDArray[np.uint8], params: Mapping[str, Any] | None = None) -> NDArray[np.float32]:
        """Logits of images as their data set has them: bytes, shape (n, channels, height, width).

        `params` is what MLflow hands to every model; this one has none.

        Raises:
            ValueError: If the images are no bytes: normalised ones would become black.
        """
        del params
        if images.dtype != np.uint8:
            raise ValueError(
                f"the images are {images.dtype}, but a kept model takes bytes, 0 to 255, as its data set has them; for "
                "images that are normalised already, call its network"
            )
        pixels = torch.from_numpy(np.array(images))
        parts = [self._logits(batch) for batch in pixels.split(EVALUATION_BATCH)]
        found: NDArray[np.float32] = torch.cat(parts).numpy()
        return found

    def _logits(self, pixels: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            logits: Tensor = self.network(normalised(pixels, mean=self.mean, std=self.std))
        return logits.float()


def pack_model(trained: TrainedModel, workbench: Workbench) -> bytes:
    """Pack a trial's model: what builds its network, what its images are normalised by, and its weights.

    Raises:
        ValueError: If the network is not what its family, width and depth build.
    """
    spec, info = workbench.spec, workbench.dataset.info
    size = {"family": spec.family, "width": spec.width, "depth": spec.depth, **trained.architecture}
    network = {"family": size["family"], **model_arguments(info, width=size["width"], depth=size["depth"])}
    weights = {name: tensor.detach().cpu() for name, tensor in trained.model.state_dict().items()}
    _check_fits(network, weights, spec)
    content = {
        "version": MODEL_VERSION,
        "spec": spec.model_dump(mode="json"),
        "network": network,
        "mean": list(info.mean),
        "std": list(info.std),
        "precision": trained.precision or spec.precision,
        "weights": weights,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def load_model(results_folder: str | Path, trial_id: str) -> KeptModel:
    """Build the network of a finished trial again, with its trained weights.

    Args:
        results_folder: Results folder of a sweep with ``tracking.models`` other than ``none``.
        trial_id: The trial.

    Returns:
        The model; its test error is the record's, to within the last bits of its logits on another processor. A family
        ``module:function`` is imported.

    Raises:
        ValueError: If no model of the trial was kept, the file is damaged, or it is of another trial.
    """
    folder = Path(results_folder)
    path = model_path(folder, trial_id)
    if not path.is_file():
        n_kept = len(list((folder / MODELS_FOLDER).glob(f"*{MODEL_SUFFIX}")))
        raise ValueError(
            f"{folder} keeps no model of trial {trial_id} ({n_kept} of other trials are there); a sweep keeps models "
            "of the finished trials that it runs with tracking.models: best or all"
        )
    kept = read_model(path)
    if kept.spec.trial_id != trial_id:
        raise ValueError(f"{path} holds the model of trial {kept.spec.trial_id}; delete it and run its sweep anew")
    return kept


def read_model(path: Path) -> KeptModel:
    """Read a file that `pack_model` made.

    Raises:
        ValueError: If it is no such file, or of another version.
    """
    content = _read_content(path)
    # Building draws first weights; the caller's own draws must not depend on it.
    with torch.random.fork_rng(devices=[]):
        network = build_model(**content["network"])
    try:
        network.load_state_dict(content["weights"])
    except RuntimeError as error:
        raise ValueError(
            f"the weights in {path} do not fill the network that {content['network']['family']} builds now: {error}"
        ) from None
    return KeptModel(
        spec=TrialSpec.model_validate(content["spec"]),
        network=network.eval(),
        mean=tuple(content["mean"]),
        std=tuple(content["std"]),
        precision=content["precision"],
    )


def _read_content(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is no model that can be read: {reason}") from None
    version = content.get("version") if isinstance(content, dict) else None
    if version != MODEL_VERSION:
        raise ValueError(f"{path} is a model of version {version!r}, this program reads {MODEL_VERSION}")
    return content


def _check_fits(network: Mapping[str, Any], weights: Mapping[str, Tensor], spec: TrialSpec) -> None:
    """Compare names and shapes with a network without weights."""
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in build_model(**network).state_dict().items()}
    found = {name: tensor.shape for name, tensor in weights.items()}
    if found != expected:
        odd = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise ValueError(
            f"the model of technique {spec.technique!r} is not the network that {network['family']} builds at width "
            f"{network['width']} and depth {network['depth']} ({odd[0]} differs), so its weights could not be loaded "
            "again; set tracking.models: none"
        )


def _load_pyfunc(path: str) -> KeptModel:
    """Load a model for `mlflow.pyfunc.load_model`."""
    return read_model(Path(path))
