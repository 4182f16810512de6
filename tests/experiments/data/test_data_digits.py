"""The digits agree with scikit-learn's and are split once and for all."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from experiments.data import describe_dataset, load_dataset, nested_subset

PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The data set, with a cache of its own."""
    return load_dataset("digits", cache_folder=tmp_path_factory.mktemp("cache"))


def rows(images, labels):
    """Images and labels as a sorted list, to be compared regardless of order."""
    return sorted((int(label), image.tobytes()) for image, label in zip(images, labels, strict=True))


def test_every_scan_lies_in_exactly_one_part(digits):
    """Together the three parts are scikit-learn's 1,797 scans, label by label, in its own scale."""
    scans = load_digits()
    images = np.concatenate([getattr(digits, part).images for part in PARTS])
    labels = np.concatenate([getattr(digits, part).labels for part in PARTS])
    counts_of_ink = np.round(images[:, 0] * (16 / 255)).astype(np.uint8)

    assert rows(counts_of_ink, labels) == rows(scans.images.astype(np.uint8), scans.target)


def test_the_description_needs_no_data_and_is_true(digits):
    """Sizes, shape and pixel statistics as stated, to the digits stated."""
    info = describe_dataset("digits")
    pixels = digits.train.read(np.arange(len(digits.train))) / 255

    assert info == digits.info
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (1100, 250, 447)
    assert (info.n_train, info.n_validation, info.n_test) == (1100, 250, 447)
    assert pixels.shape[1:] == info.shape
    assert info.mean[0] == pytest.approx(pixels.mean(), abs=6e-5)
    assert info.std[0] == pytest.approx(pixels.std(), abs=6e-5)


def test_training_and_validation_have_every_class_equally_often(digits):
    """So every n_train up to the whole pool is balanced."""
    assert np.bincount(digits.train.labels).tolist() == [110] * 10
    assert np.bincount(digits.validation.labels).tolist() == [25] * 10
    assert len(nested_subset(digits.train.labels, 1100, 0)) == 1100


def test_the_split_is_the_same_for_ever(digits):
    """The sums of ink of the three parts, fixed when the split was first made."""
    sums = [int(getattr(digits, part).images.sum(dtype=np.int64)) for part in PARTS]

    assert sums == [5480776, 1241704, 2231321]


@pytest.mark.parametrize("wrong", [-1, 447])
def test_an_index_outside_is_refused(digits, wrong):
    """Above all -1, which numpy would take for the last."""
    with pytest.raises(ValueError, match=f"no example {wrong}; indices run from 0 to 446"):
        digits.test.read(np.array([0, wrong]))


def test_what_is_read_may_be_changed(digits):
    """A caller gets a copy; the shared arrays stay."""
    first = digits.test.read(np.array([3]))
    first[:] = 0

    assert digits.test.read(np.array([3])).sum() > 0
