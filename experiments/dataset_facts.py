"""What is told of a sweep's data sets to whoever keeps its runs: facts and a fingerprint, never the data."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.data import Dataset, fingerprint
from scaling.export import write_json

DATASETS_FILE = "datasets.json"


def dataset_facts(name: str, dataset: Dataset) -> dict[str, Any]:
    """Name, fingerprint, sizes and source of a data set, as JSON can hold them.

    Args:
        name: What the sweep calls it; options of a built-in one are part of the name.
        dataset: The data set, opened.
    """
    info = dataset.info
    splits = ["train", "validation", "test", *(["real_shift"] if dataset.real_shift is not None else [])]
    return {
        "name": name,
        "digest": fingerprint(dataset, splits),
        "description": info.description,
        "source": info.source,
        "licence": info.licence,
        "image_shape": list(info.shape),
        "n_classes": info.n_classes,
        "n_train": info.n_train,
        "n_validation": info.n_validation,
        "n_test": info.n_test,
    }


def save_facts(facts: Iterable[dict[str, Any]], folder: Path) -> Path:
    """Keep the facts beside the results, so that they are known wherever the records are delivered from."""
    return write_json({one["name"]: one for one in facts}, folder / DATASETS_FILE)


def read_facts(folder: Path) -> dict[str, dict[str, Any]]:
    """The facts by name; none of results that an earlier version left.

    Raises:
        ValueError: If the file is damaged; it is named.
    """
    path = folder / DATASETS_FILE
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it, and the next start of the sweep writes it") from None
