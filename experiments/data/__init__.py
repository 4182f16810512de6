"""Data sets with fixed splits, nested subsets and a shifted test set, kept once per node."""

from experiments.data.cache import default_cache_folder, default_data_folder
from experiments.data.catalogue import DATASET_NAMES, check_dataset, describe_dataset, load_dataset
from experiments.data.dataset import Dataset, DatasetInfo, dataset_from_arrays
from experiments.data.examples import ArrayExamples, Examples
from experiments.data.identity import fingerprint
from experiments.data.shift import ShiftedExamples
from experiments.data.subsets import nested_subset

__all__ = [
    "DATASET_NAMES",
    "ArrayExamples",
    "Dataset",
    "DatasetInfo",
    "Examples",
    "ShiftedExamples",
    "check_dataset",
    "dataset_from_arrays",
    "default_cache_folder",
    "default_data_folder",
    "describe_dataset",
    "fingerprint",
    "load_dataset",
    "nested_subset",
]
