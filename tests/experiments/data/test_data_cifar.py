"""CIFAR in both published versions, read without letting a pickle run anything."""

import os
import pickle
import struct

import numpy as np
import pytest

from experiments.data import check_dataset, describe_dataset, load_dataset

GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(0, 256, (120, 3072), dtype=np.uint8)
LABELS_10 = np.arange(120) % 10
LABELS_100 = np.arange(120) % 100


def python_2_pickle(pixels, labels, label_name):
    """Write the opcodes that Python 2's cPickle wrote for the published files, protocol 2."""

    def text(value):
        return b"T" + struct.pack("<I", len(value)) + value

    def number(value):
        return b"J" + struct.pack("<i", value)

    dtype = (
        b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"  # dtype('u1', 0, 1)
        b"(K\x03" + text(b"|") + b"NNN" + number(-1) + number(-1) + b"K\x00tb"
    )
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        b"(K\x01" + number(len(pixels)) + number(3072) + b"\x86" + dtype + b"\x89" + text(pixels.tobytes()) + b"tb"
    )
    numbers = b"](" + b"".join(number(int(label)) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(label_name) + numbers + b"u."


def python_3_pickle(pixels, labels, label_name):
    """Write what Python 3 writes today, as in copies that were saved anew."""
    return pickle.dumps({"data": pixels, label_name.decode(): labels.tolist()}, protocol=2)


def binary(pixels, labels, _label_name=None):
    """Write one label byte before each image's pixels."""
    return np.column_stack([labels.astype(np.uint8), pixels]).tobytes()


def write_cifar10(folder, write, suffix=""):
    """Five training files and one for testing, twenty images each."""
    folder.mkdir(parents=True)
    names = [*(f"data_batch_{number}{suffix}" for number in range(1, 6)), f"test_batch{suffix}"]
    for number, name in enumerate(names):
        rows = slice(20 * number, 20 * number + 20)
        (folder / name).write_bytes(write(PIXELS[rows], LABELS_10[rows], b"labels"))


def load(tmp_path, name="cifar10"):
    """Load with folders of the test's own."""
    return load_dataset(name, data_folder=tmp_path / "data", cache_folder=tmp_path / "cache")


@pytest.mark.parametrize(
    ("place", "write", "suffix"),
    [
        ("cifar10/cifar-10-batches-py", python_2_pickle, ""),
        ("cifar-10-batches-py", python_3_pickle, ""),
        ("cifar-10-batches-bin", binary, ".bin"),
        ("cifar10", binary, ".bin"),
    ],
)
def test_cifar10_is_read_in_every_version(tmp_path, place, write, suffix):
    """All give the same images: rows of red, green and blue, and test in the file's order."""
    write_cifar10(tmp_path / "data" / place, write, suffix)

    dataset = load(tmp_path)
    parts = (dataset.train, dataset.validation)
    pairs = [
        (image.tobytes(), label)
        for part in parts
        for image, label in zip(part.read(np.arange(len(part))), part.labels, strict=True)
    ]

    assert [len(part) for part in (*parts, dataset.test)] == [90, 10, 20]
    assert sorted(pairs) == sorted((row.tobytes(), label) for row, label in zip(PIXELS[:100], LABELS_10, strict=False))
    test = dataset.test.read(np.arange(20))
    assert test.shape[1:] == dataset.info.shape == (3, 32, 32)
    assert test[3, 1, 2, 5] == PIXELS[103, 1024 + 2 * 32 + 5]
    assert (dataset.info.n_train, dataset.info.n_validation, dataset.info.n_test) == (90, 10, 20)


@pytest.mark.parametrize("version", ["python", "binary"])
def test_cifar100_takes_the_fine_labels(tmp_path, version):
    """The coarse ones stand beside them, in the binary version just before."""
    if version == "python":
        folder, suffix = tmp_path / "data" / "cifar-100-python", ""
        content = python_2_pickle(PIXELS, LABELS_100, b"fine_labels")
    else:
        folder, suffix = tmp_path / "data" / "cifar-100-binary", ".bin"
        content = np.column_stack([LABELS_100.astype(np.uint8) % 20, LABELS_100.astype(np.uint8), PIXELS]).tobytes()
    folder.mkdir(parents=True)
    for name in ("train", "test"):
        (folder / f"{name}{suffix}").write_bytes(content)

    dataset = load(tmp_path, "cifar100")

    assert dataset.info.n_classes == 100
    np.testing.assert_array_equal(dataset.test.labels, LABELS_100)
    np.testing.assert_array_equal(dataset.test.read(np.arange(120)).reshape(120, -1), PIXELS)


def test_the_description_needs_no_files():
    """Sizes as published, 5,000 of the training images held out."""
    info = describe_dataset("cifar10")

    assert (info.n_train, info.n_validation, info.n_test, info.shape) == (45_000, 5_000, 10_000, (3, 32, 32))


def test_missing_files_are_asked_for_in_one_sentence(tmp_path):
    """Where they were looked for, what to unpack, and the switch that fetches them."""
    for call in (lambda: load(tmp_path), lambda: check_dataset("cifar10", data_folder=tmp_path / "data")):
        with pytest.raises(ValueError, match=r"looked|complete in") as refusal:
            call()
        for word in (str(tmp_path / "data" / "cifar10"), "cifar-10-python.tar.gz", "NINTHPOWER_DOWNLOAD=1"):
            assert word in str(refusal.value)


class Hostile:
    """Runs a command when it is unpickled by a trusting reader."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def hostile_pickles(path):
    """Pickles that ask for more than an array of bytes."""
    return {
        "a command": pickle.dumps(Hostile(path), protocol=2),
        "a command within": pickle.dumps({b"data": PIXELS, b"labels": [Hostile(path)]}, protocol=2),
        "an array of objects": pickle.dumps({b"data": np.array([Hostile(path)], dtype=object)}, protocol=2),
        "eval": b"\x80\x02c__builtin__\neval\nU\x011\x85R.",
        "a numpy loader": b"\x80\x02cnumpy\nload\nU\x011\x85R.",
        "an extension code": b"\x80\x02\x82\x01.",
        "a persistent id": b"\x80\x02U\x01aQ.",
        "a type called": b"\x80\x02cnumpy\nndarray\nK\x05\x85R.",
        "nothing": b"",
        "half": pickle.dumps({b"data": PIXELS}, protocol=2)[:5000],
        "a list": pickle.dumps([1, 2]),
        "no data": pickle.dumps({b"labels": [1]}, protocol=2),
        "floats": pickle.dumps({b"data": PIXELS.astype(float), b"labels": LABELS_10.tolist()}, protocol=2),
        "a wrong width": python_3_pickle(PIXELS[:, :3000].copy(), LABELS_10, b"labels"),
        "too few labels": python_3_pickle(PIXELS, LABELS_10[:-1], b"labels"),
        "a label that is no class": python_3_pickle(PIXELS, LABELS_10 + 1, b"labels"),
        "labels that are text": pickle.dumps({b"data": PIXELS, b"labels": ["1"] * 120}, protocol=2),
        "text": b"<html>not found</html>",
    }


@pytest.mark.parametrize("kind", sorted(hostile_pickles("")))
def test_hostile_and_damaged_pickles_are_refused_by_name(tmp_path, kind):
    """One sentence with the file's name, and nothing has run."""
    write_cifar10(tmp_path / "data" / "cifar-10-batches-py", python_2_pickle)
    path = tmp_path / "data" / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(hostile_pickles(tmp_path / "trace")[kind])

    with pytest.raises(ValueError, match="fetch it again") as refusal:
        load(tmp_path)

    assert str(path) in str(refusal.value)
    assert not (tmp_path / "trace").exists()


def test_a_binary_file_that_is_cut_off_is_named(tmp_path):
    """Its length is no multiple of an image and its label."""
    write_cifar10(tmp_path / "data" / "cifar-10-batches-bin", binary, ".bin")
    path = tmp_path / "data" / "cifar-10-batches-bin" / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(ValueError, match=r"test_batch\.bin has 61459 bytes, which is no multiple of the 3073"):
        load(tmp_path)
