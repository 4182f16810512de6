"""A data set as MLflow's own type: the input that its pages show beside a run, without the data.

MLflow is imported when an input is made, not before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

CONTEXT_TAG, CONTEXT = "mlflow.data.context", "training"
PROFILE_NAMES = ("n_train", "n_validation", "n_test", "n_classes", "description", "licence")


def dataset_input(facts: Mapping[str, Any]) -> Any:
    """Make the `mlflow.entities.DatasetInput` of a data set from its facts.

    Args:
        facts: ``name``, ``digest`` (up to 36 characters), ``source`` (an http address or words), ``image_shape``
            (channels, height, width), and of `PROFILE_NAMES` what is known.

    Returns:
        The input, in the context ``training``: tensors of images and labels for a schema, the rest for a profile.
        An http source is one of `mlflow.data`'s http sources, any other a code source with the words as a tag.
    """
    import numpy as np
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.http_dataset_source import HTTPDatasetSource
    from mlflow.data.schema import TensorDatasetSchema
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.types.schema import Schema, TensorSpec

    words = str(facts["source"])
    is_address = words.startswith(("http://", "https://")) and " " not in words
    source = HTTPDatasetSource(words) if is_address else CodeDatasetSource({"source": words, "name": facts["name"]})
    schema = TensorDatasetSchema(
        features=Schema([TensorSpec(np.dtype("uint8"), (-1, *facts["image_shape"]), "images")]),
        targets=Schema([TensorSpec(np.dtype("int64"), (-1,), "labels")]),
    )
    dataset = Dataset(
        name=facts["name"],
        digest=facts["digest"],
        source_type=source._get_source_type(),
        source=source.to_json(),
        schema=json.dumps(schema.to_dict()),
        profile=json.dumps({name: facts[name] for name in PROFILE_NAMES if facts.get(name) not in (None, "")}),
    )
    return DatasetInput(dataset, [InputTag(CONTEXT_TAG, CONTEXT)])
