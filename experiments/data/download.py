"""Fetching a data set over the network, which happens only when it is asked for."""

from __future__ import annotations

import os

from experiments.data.cache import node_lock
from experiments.data.request import Request

DOWNLOAD_VARIABLE = "NINTHPOWER_DOWNLOAD"


def download_wanted() -> bool:
    """Whether $NINTHPOWER_DOWNLOAD asks for missing data sets to be fetched.

    Raises:
        ValueError: If it is neither 0 nor 1.
    """
    value = os.environ.get(DOWNLOAD_VARIABLE, "0") or "0"
    if value not in ("0", "1"):
        raise ValueError(f"{DOWNLOAD_VARIABLE} is {value!r}; 1 fetches data sets that are missing, 0 does not")
    return value == "1"


def fetch_by_torchvision(class_name: str, request: Request) -> None:
    """Let torchvision fetch a data set into the data folder, in one process of the node at a time.

    Raises:
        ValueError: If torchvision is not installed, or cannot fetch it.
    """
    with node_lock(request.data_folder, f".{class_name}-download"):
        try:
            from experiments.torchvision_mend import mend_torchvision

            mend_torchvision()
            from torchvision import datasets
        except ImportError as error:
            raise ValueError(f"{request.kind} is fetched by torchvision, which does not load: {error}") from error
        try:
            for train in (True, False):
                getattr(datasets, class_name)(root=str(request.data_folder), train=train, download=True)
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"torchvision could not fetch {request.kind} into {request.data_folder}: {error}"
            ) from error
