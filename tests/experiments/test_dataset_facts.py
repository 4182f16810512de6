"""What is told of data sets: facts that survive a file, and a fingerprint that sees another data set."""

import dataclasses

import numpy as np
import pytest

from experiments.data import dataset_from_arrays, load_dataset
from experiments.dataset_facts import dataset_facts, fingerprint, read_facts, save_facts


def own(*, pixel=None, label=None, part="train"):
    """A data set of one's own, with one pixel or one label changed."""
    generator = np.random.default_rng(0)
    parts = {}
    for name, size in (("train", 60), ("validation", 20), ("test", 20)):
        images = generator.integers(0, 256, (size, 1, 8, 8), dtype=np.uint8)
        labels = np.arange(size) % 2
        if name == part and pixel is not None:
            images[5, 0, 0, 0] ^= pixel
        if name == part and label is not None:
            labels[5] = label
        parts[name] = (images, labels)
    return dataset_from_arrays("mine", parts["train"], parts["test"], parts["validation"])


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_fingerprint_sees_another_pixel_and_another_label(part):
    """In any split of a small data set; the same data set has the same one."""
    found = {fingerprint(own()), fingerprint(own(pixel=1, part=part)), fingerprint(own(label=0, part=part))}

    assert len(found) == 3
    assert fingerprint(own()) == fingerprint(own())


def test_a_real_shifted_test_set_is_part_of_what_mlflow_is_told():
    """Other files under the same path are another data set; without such files nothing changes."""
    plain, first, other = own(), own(), own(pixel=1, part="test")
    digests = [
        dataset_facts("mine", dataclasses.replace(plain, real_shift=shift))["digest"]
        for shift in (None, first.test, other.test)
    ]

    assert len(set(digests)) == 3
    assert digests[0] == fingerprint(plain)


def test_facts_are_those_of_the_data_set_and_survive_their_file(tmp_path):
    """Its sizes are counted on the arrays; MLflow takes a digest of up to 36 characters."""
    dataset = load_dataset("digits", cache_folder=tmp_path / "cache")
    facts = dataset_facts("digits", dataset)
    save_facts([facts], tmp_path)

    assert read_facts(tmp_path) == {"digits": facts}
    assert [facts["n_train"], facts["n_validation"], facts["n_test"]] == [
        len(part.labels) for part in (dataset.train, dataset.validation, dataset.test)
    ]
    assert facts["image_shape"] == [1, 8, 8]
    assert 16 <= len(facts["digest"]) <= 36


def test_results_without_the_file_have_no_facts_and_a_damaged_one_is_named(tmp_path):
    """As an earlier version left them."""
    assert read_facts(tmp_path) == {}
    (tmp_path / "datasets.json").write_text("{")
    with pytest.raises(ValueError, match=r"datasets\.json is damaged"):
        read_facts(tmp_path)
