"""A user's own data set: made from arrays, named by import path, checked before it is used."""

import dataclasses
import sys
import types

import numpy as np
import pytest

from experiments.data import (
    ArrayExamples,
    Dataset,
    Examples,
    check_dataset,
    dataset_from_arrays,
    describe_dataset,
    load_dataset,
    nested_subset,
)

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (60, 3, 9, 7), dtype=np.uint8)
LABELS = np.arange(60) % 4


def good():
    """A correct data set."""
    return dataset_from_arrays("mine", (IMAGES, LABELS), (IMAGES[:8], LABELS[:8]))


@pytest.fixture
def module(monkeypatch):
    """A module of the user's, to put functions into."""
    own = types.ModuleType("my_images")
    own.__file__ = "/home/me/my_images.py"
    own.load = good
    monkeypatch.setitem(sys.modules, "my_images", own)
    return own


@pytest.mark.usefixtures("module")
def test_a_function_is_named_by_its_import_path():
    """It is called, checked, and serves like a data set that ships."""
    dataset = load_dataset("my_images:load")

    assert describe_dataset("my_images:load") == dataset.info
    assert (dataset.info.n_classes, dataset.info.shape) == (4, (3, 9, 7))
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (54, 6, 8)
    assert len(nested_subset(dataset.train.labels, 20, 0)) == 20
    assert dataset.shifted().read(np.arange(8)).shape == (8, 3, 9, 7)


def test_arrays_become_a_data_set_with_its_statistics():
    """Mean and deviation per channel as numpy has them; grey images get their channel."""
    dataset = good()
    pixels = dataset.train.read(np.arange(54)) / 255
    grey = dataset_from_arrays("grey", (IMAGES[:, 0], LABELS), (IMAGES[:, 1], LABELS), (IMAGES[:5, 2], LABELS[:5]))

    np.testing.assert_allclose(dataset.info.mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(dataset.info.std, pixels.std(axis=(0, 2, 3)), rtol=1e-12)
    assert isinstance(dataset.train, Examples)
    assert (grey.info.shape, grey.info.n_train, grey.info.n_validation) == ((1, 9, 7), 60, 5)


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        ((IMAGES / 255, LABELS), "train images are float64; scale them to 0..255"),
        ((IMAGES[0, 0], LABELS), "train images have the shape"),
        ((IMAGES, LABELS[:-1]), "give one whole number for each of the 60 images"),
        ((IMAGES, LABELS / 1), "the type float64"),
        ((IMAGES, LABELS - 1), "but they are numbers from 0, at least one; number the classes from 0"),
        ((IMAGES[:0], LABELS[:0]), "at least one; number the classes from 0"),
    ],
)
def test_wrong_arrays_are_refused(train, sentence):
    """With what was found and what is asked for."""
    with pytest.raises(ValueError, match=sentence):
        dataset_from_arrays("mine", train, (IMAGES, LABELS))


def with_info(**changes):
    """A correct data set that says something else of itself."""
    return lambda: dataclasses.replace(good(), info=dataclasses.replace(good().info, **changes))


def with_train(images, labels):
    """A correct data set with other training examples."""
    return lambda: dataclasses.replace(good(), train=ArrayExamples(images, labels))


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda: (IMAGES, LABELS), "returned a tuple, not an experiments.data.Dataset"),
        (lambda path: path, "is called without arguments, but: missing a required argument: 'path'"),
        (with_info(n_classes=3), "train labels run from 0 to 3, but they lie in 0 to 2"),
        (with_info(n_classes=5), "no training example has the label 4"),
        (with_info(n_classes=1), "nothing to tell apart below 2"),
        (with_info(height="9"), "info.height is '9', but it is a whole number from 1"),
        (with_info(n_test=9), "test holds 8 examples, but info.n_test is 9"),
        (with_info(mean=(0.5,)), "one number for each of 3 channels"),
        (with_info(mean=(127.0, 127.0, 127.0)), "pixels scaled to"),
        (with_info(std=(0.1, 0.0, 0.1)), "is above 0"),
        (with_info(width=8), r"gave uint8 of shape \(2, 3, 9, 7\), but it gives uint8 of shape \(2, 3, 9, 8\)"),
        (with_train(IMAGES[:54] / 255, LABELS[:54]), "gave float64"),
        (with_train(IMAGES[:54], LABELS[:54].astype(np.int32)), "train labels are int32 of shape"),
        (with_train(IMAGES[:54], LABELS[:54].tolist()), "train labels are list"),
        (lambda: Dataset(good().info, IMAGES, IMAGES, IMAGES), "train is a ndarray without labels"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_spent(module, function, sentence):
    """Type, sizes, statistics, labels and the first images are looked at."""
    module.load = function

    with pytest.raises(ValueError, match=sentence):
        check_dataset("my_images:load")


@pytest.mark.usefixtures("module")
def test_what_cannot_be_imported_is_said():
    """The module, or the function within it."""
    with pytest.raises(ValueError, match="No module named 'no_such_images'; install the package or put"):
        load_dataset("no_such_images:load")
    with pytest.raises(ValueError, match=r"/home/me/my_images\.py has no function 'lod'"):
        load_dataset("my_images:lod")


def test_an_error_in_the_users_own_code_names_the_data_set_and_keeps_its_traceback(module):
    """The sentence says whose it is, and `--debug` shows where it came from."""
    module.load = lambda: 1 / 0

    with pytest.raises(ValueError, match=r"'my_images:load' could not be loaded: ZeroDivisionError") as caught:
        load_dataset("my_images:load")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
