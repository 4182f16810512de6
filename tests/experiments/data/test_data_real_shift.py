"""Real shifted test sets by path: as CIFAR-10.1 and ImageNet-V2 come, and what does not fit."""

import numpy as np
import pytest
from PIL import Image

from experiments.data import check_dataset, describe_dataset, load_dataset
from experiments.machine import Machine
from experiments.spec import TrialSpec
from experiments.trial import run_trial

CHANCE = np.random.default_rng(0)


def write_arrays(folder, name="digits-2", shape=(60, 8, 8), labels=None, kind=np.uint8):
    """Write images and labels as CIFAR-10.1's authors do."""
    np.save(folder / f"{name}_data.npy", CHANCE.integers(0, 256, shape).astype(kind))
    np.save(folder / f"{name}_labels.npy", np.arange(shape[0]) % 10 if labels is None else labels)


def write_images(root, classes, colour):
    """Write two images of one colour for each class."""
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (16, 16), (colour, 0, 0)).save(root / name / f"{number}.png")


def test_arrays_are_the_shifted_test_set_channels_first(tmp_path):
    """Its pixels and labels are those of the files; training, validation and test stay."""
    write_arrays(tmp_path)
    plain = load_dataset("digits", data_folder=tmp_path, cache_folder=tmp_path / "cache")
    found = load_dataset("digits?shifted=digits-2", data_folder=tmp_path, cache_folder=tmp_path / "cache")
    shifted, everything = found.shifted(), np.arange(60)

    assert np.array_equal(shifted.read(everything)[:, 0], np.load(tmp_path / "digits-2_data.npy"))
    assert np.array_equal(shifted.labels, everything % 10)
    assert np.array_equal(found.test.labels, plain.test.labels)
    assert found.info.name == "digits?shifted=digits-2"


def test_colours_come_last_in_the_files(tmp_path):
    """CIFAR-10.1 is (2000, 32, 32, 3)."""
    for part, n in (("train", 6), ("val", 4)):
        write_images(tmp_path / "images" / part, ["ant", "bee"], n)
    write_arrays(tmp_path, "again", (4, 16, 16, 3), labels=np.array([0, 1, 1, 0]))
    name = "imagefolder:images?size=16&shifted=again"
    shifted = load_dataset(name, data_folder=tmp_path, cache_folder=tmp_path / "cache").shifted()

    written = np.load(tmp_path / "again_data.npy")
    assert np.array_equal(shifted.read(np.array([2]))[0, 1], written[2, :, :, 1])


@pytest.mark.parametrize("classes", [("ant", "bee", "cat"), ("0", "1", "2")])
def test_a_folder_of_classes_by_name_or_by_number(classes, tmp_path):
    """Label 2 is the third class of train/, however the folder calls it; a class may be missing."""
    for part in ("train", "val"):
        write_images(tmp_path / "images" / part, ["ant", "bee", "cat"], 10)
    write_images(tmp_path / "v2", [classes[0], classes[2]], 200)
    name = "imagefolder:images?size=16&shifted=v2"
    shifted = load_dataset(name, data_folder=tmp_path, cache_folder=tmp_path / "cache").shifted()

    assert shifted.labels.tolist() == [0, 0, 2, 2]
    assert (shifted.read(np.arange(4))[:, 0] == 200).all()


def test_a_trial_errs_on_it_and_says_how_many_examples_there_were(tmp_path):
    """Random images are guessed; the error is a share of their number."""
    write_arrays(tmp_path)
    machine = Machine(device="cpu", data_folder=tmp_path, cache_folder=tmp_path / "cache")
    fields = {"family": "mlp", "width": 16, "depth": 1, "n_train": 200, "epochs": 4}
    row = run_trial(TrialSpec(dataset="digits?shifted=digits-2", **fields), machine)["row"]

    assert row["n_shift_test"] == 60
    assert row["shift_error"] * 60 == pytest.approx(round(row["shift_error"] * 60))
    assert row["shift_error"] > 0.6 > row["test_error"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (None, "digits-2_data.npy and digits-2_labels.npy"),
        ({"shape": (60, 9, 8)}, r"uint8 of shape \(60, 9, 8, 1\), but images of .* are uint8 of shape \(n, 8, 8, 1\)"),
        ({"kind": np.float32}, "float32 of shape"),
        ({"labels": np.full(60, 10)}, "one whole number from 0 to 9 for each of the 60 images"),
        ({"labels": np.zeros(59, int)}, r"int64 of shape \(59,\)"),
    ],
)
def test_what_does_not_fit_is_named(arrays, message, tmp_path):
    """With the file, what it holds and what it should."""
    if arrays is not None:
        write_arrays(tmp_path, **arrays)
    with pytest.raises(ValueError, match=message):
        load_dataset("digits?shifted=digits-2", data_folder=tmp_path, cache_folder=tmp_path / "cache")


@pytest.mark.parametrize("content", [b"", b"no array", b"\x80\x04N."], ids=["empty", "text", "pickle"])
def test_a_file_that_holds_no_array_is_named_and_never_executed(content, tmp_path):
    """The labels are whole, the images are not."""
    write_arrays(tmp_path)
    (tmp_path / "digits-2_data.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"digits-2_data\.npy is no array that numpy\.save wrote"):
        load_dataset("digits?shifted=digits-2", data_folder=tmp_path, cache_folder=tmp_path / "cache")


def test_missing_files_are_refused_when_planning_and_described_without_them(tmp_path):
    """Facts need no files; a sweep does."""
    assert describe_dataset("digits?shifted=nowhere", data_folder=tmp_path).n_test == 447
    with pytest.raises(ValueError, match=r"shifted is 'nowhere', but .* is no folder of class folders"):
        check_dataset("digits?shifted=nowhere", data_folder=tmp_path)


def test_folders_of_images_are_for_square_colour_images(tmp_path):
    """Digits are grey."""
    write_images(tmp_path / "v2", ["0", "1"], 200)
    with pytest.raises(ValueError, match="give its shifted test set as arrays"):
        load_dataset("digits?shifted=v2", data_folder=tmp_path, cache_folder=tmp_path / "cache")
