"""MNIST and Fashion-MNIST in the true IDX format, where they are looked for, and what damage says."""

import gzip
import struct
import sys
import types

import numpy as np
import pytest

from experiments.data import check_dataset, describe_dataset, load_dataset
from experiments.data import mnist as mnist_module

GENERATOR = np.random.default_rng(0)
TRAIN = GENERATOR.integers(0, 256, (240, 28, 28), dtype=np.uint8), np.arange(240, dtype=np.uint8) % 10
TEST = GENERATOR.integers(0, 256, (50, 28, 28), dtype=np.uint8), np.arange(50, dtype=np.uint8) % 10


def idx_bytes(array):
    """Write an array as the format's description says: magic, big-endian sizes, bytes."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def write_files(folder, *, train=TRAIN, test=TEST, pack=gzip.compress, pattern="{stem}-idx{n}-ubyte.gz"):
    """Write the four files as they are published."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, (images, labels) in (("train", train), ("t10k", test)):
        (folder / pattern.format(stem=f"{stem}-images", n=3)).write_bytes(pack(idx_bytes(images)))
        (folder / pattern.format(stem=f"{stem}-labels", n=1)).write_bytes(pack(idx_bytes(labels)))


@pytest.fixture(autouse=True)
def no_system_folder(monkeypatch, tmp_path):
    """Tests must not find what the machine has."""
    monkeypatch.setattr(mnist_module, "_SYSTEM_FOLDER", tmp_path / "system")


def load(tmp_path, name="mnist", **options):
    """Load with folders of the test's own."""
    return load_dataset(name, data_folder=tmp_path / "data", cache_folder=tmp_path / "cache", **options)


@pytest.mark.parametrize(
    ("place", "pack", "pattern"),
    [
        ("data/mnist", gzip.compress, "{stem}-idx{n}-ubyte.gz"),
        ("data/mnist", bytes, "{stem}-idx{n}-ubyte"),
        ("data/mnist", bytes, "{stem}.idx{n}-ubyte"),
        ("data/mnist", bytes, "{stem}-idx{n}-ubyte.gz"),  # unpacked by a browser that kept the name
        ("data", gzip.compress, "{stem}-idx{n}-ubyte.gz"),
        ("data/MNIST/raw", bytes, "{stem}-idx{n}-ubyte"),  # where torchvision puts them
        ("system/mnist", gzip.compress, "{stem}-idx{n}-ubyte.gz"),
    ],
)
def test_files_are_found_and_read_wherever_and_however_they_come(tmp_path, place, pack, pattern):
    """Every image of the files turns up once, with its label; test keeps its order."""
    write_files(tmp_path / place, pack=pack, pattern=pattern)

    dataset = load(tmp_path)
    pairs = [
        (image.tobytes(), label)
        for part in (dataset.train, dataset.validation)
        for image, label in zip(part.read(np.arange(len(part))), part.labels, strict=True)
    ]

    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (220, 20, 50)
    assert sorted(pairs) == sorted((image.tobytes(), label) for image, label in zip(*TRAIN, strict=True))
    np.testing.assert_array_equal(dataset.test.read(np.arange(50))[:, 0], TEST[0])
    np.testing.assert_array_equal(dataset.test.labels, TEST[1])
    assert np.bincount(dataset.validation.labels).tolist() == [2] * 10


def test_the_description_reads_headers_alone(tmp_path):
    """Published sizes without files, the files' own with them, even if the pixels are cut off."""
    published = describe_dataset("mnist", data_folder=tmp_path / "data")
    write_files(tmp_path / "data", pack=bytes, pattern="{stem}-idx{n}-ubyte")
    info = load(tmp_path).info
    path = tmp_path / "data" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:100])

    assert (published.n_train, published.n_validation, published.n_test) == (55_000, 5_000, 10_000)
    assert describe_dataset("mnist", data_folder=tmp_path / "data") == info
    assert (info.n_train, info.n_validation, info.n_test, info.shape) == (220, 20, 50, (1, 28, 28))


def test_changed_files_are_not_taken_from_the_cache(tmp_path):
    """The cache goes by content."""
    write_files(tmp_path / "data")
    before = load(tmp_path).test.labels.copy()
    write_files(tmp_path / "data", test=(TEST[0], TEST[1][::-1].copy()))

    np.testing.assert_array_equal(load(tmp_path).test.labels, before[::-1])


def test_missing_files_are_asked_for_in_one_sentence(tmp_path):
    """Where they were looked for, the package that has them, and the switch that fetches them."""
    with pytest.raises(ValueError, match="no folder holds all four files") as refusal:
        load(tmp_path, "fashion-mnist")

    sentence = str(refusal.value)
    for place in ("data/fashion-mnist", "data/FashionMNIST/raw", "system/fashion-mnist"):
        assert str(tmp_path / place) in sentence
    assert "dataset-fashion-mnist" in sentence
    assert "NINTHPOWER_DOWNLOAD=1" in sentence
    assert "\n" not in sentence
    with pytest.raises(ValueError, match="no folder holds all four files"):
        check_dataset("fashion-mnist", data_folder=tmp_path / "data")


@pytest.mark.parametrize("victim", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda content: content[:-5], "is cut off: its header promises"),
        (lambda content: content + b"x", "is longer than the"),
        (lambda content: content[:6], "is cut off within its header"),
        (lambda _content: b"", "begins with nothing"),
        (lambda content: b"\x00\x00\x0d" + content[3:], "begins with 00 00 0d"),
        (lambda content: b"<html>" + content, "it is another file or damaged"),
    ],
)
def test_damaged_files_are_named(tmp_path, victim, damage, sentence):
    """Cut, lengthened, emptied, of another type, or an error page saved under the name."""
    write_files(tmp_path / "data", pack=bytes, pattern="{stem}-idx{n}-ubyte")
    path = tmp_path / "data" / victim
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(ValueError, match=sentence) as refusal:
        load(tmp_path)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize("damage", [lambda packed: packed[:-40], lambda packed: packed[:30] + b"?" * 9 + packed[39:]])
def test_damaged_gzip_files_are_named(tmp_path, damage):
    """Cut off, or with bytes changed in the middle."""
    write_files(tmp_path / "data")
    path = tmp_path / "data" / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz is damaged or cut off"):
        load(tmp_path)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    """Too few labels, a label that is no class, images of another size."""
    images, labels = TRAIN
    for train, test, sentence in (
        ((images, labels[:-1]), TEST, "240 images, .* 239 labels"),
        ((images, labels + 1), TEST, "holds the label 10, allowed are 0 to 9"),
        (TRAIN, (TEST[0][:, :20], TEST[1]), "not of one data set"),
    ):
        write_files(tmp_path / "data", train=train, test=test)
        with pytest.raises(ValueError, match=sentence):
            load(tmp_path)


def test_mnist_is_not_taken_for_fashion_mnist(tmp_path):
    """Their files bear the same names; the first labels tell them apart."""
    labels = TRAIN[1].copy()
    labels[:8] = [5, 0, 4, 1, 9, 2, 1, 3]
    write_files(tmp_path / "data", train=(TRAIN[0], labels))

    load(tmp_path, "mnist")
    with pytest.raises(ValueError, match=r"belongs to mnist, .* into a folder called fashion-mnist"):
        load(tmp_path, "fashion-mnist")


def fake_torchvision(monkeypatch, fetch):
    """Put a torchvision in place that calls `fetch` in place of the network."""
    torchvision, datasets = types.ModuleType("torchvision"), types.ModuleType("torchvision.datasets")
    datasets.FashionMNIST = fetch
    torchvision.datasets = datasets
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)


def test_nothing_is_fetched_unless_asked_for(tmp_path, monkeypatch):
    """By argument or by the environment; then into torchvision's own folder."""
    calls = []

    def fetch(root, train, download):
        calls.append((root, train, download))
        write_files(tmp_path / "data" / "FashionMNIST" / "raw")

    fake_torchvision(monkeypatch, fetch)
    monkeypatch.delenv("NINTHPOWER_DOWNLOAD", raising=False)
    with pytest.raises(ValueError, match="NINTHPOWER_DOWNLOAD=1"):
        load(tmp_path, "fashion-mnist")
    assert calls == []

    monkeypatch.setenv("NINTHPOWER_DOWNLOAD", "1")
    check_dataset("fashion-mnist", data_folder=tmp_path / "data")
    assert len(load(tmp_path, "fashion-mnist").test) == 50
    assert calls == [(str(tmp_path / "data"), train, True) for train in (True, False)]
    load(tmp_path, "fashion-mnist", download=True)
    assert len(calls) == 2


def test_a_fetch_that_fails_is_a_sentence(tmp_path, monkeypatch):
    """No network is the usual case."""

    def fetch(**_options):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    fake_torchvision(monkeypatch, fetch)

    with pytest.raises(ValueError, match=r"could not fetch fashion-mnist into .*: Error downloading"):
        load(tmp_path, "fashion-mnist", download=True)


def test_the_switch_is_0_or_1(tmp_path, monkeypatch):
    """Another value is a slip, not a yes."""
    monkeypatch.setenv("NINTHPOWER_DOWNLOAD", "yes")

    with pytest.raises(ValueError, match="NINTHPOWER_DOWNLOAD is 'yes'; 1 fetches"):
        load(tmp_path, "fashion-mnist")


def test_fashion_mnist_as_published(tmp_path, monkeypatch):
    """Sizes, balance, the first images of the paper's figure, and the pixel statistics stated."""
    monkeypatch.undo()
    try:
        check_dataset("fashion-mnist")
    except ValueError as missing:
        pytest.skip(str(missing))
    dataset = load_dataset("fashion-mnist", cache_folder=tmp_path)
    pixels = dataset.train.images

    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (55_000, 5_000, 10_000)
    assert np.bincount(dataset.train.labels).tolist() == [5_500] * 10
    assert np.bincount(dataset.validation.labels).tolist() == [500] * 10
    assert dataset.test.labels[:8].tolist() == [9, 2, 1, 1, 6, 1, 4, 6]
    assert dataset.info.mean[0] == pytest.approx(pixels.mean() / 255, abs=5e-4)
    assert dataset.info.std[0] == pytest.approx(pixels.std(dtype=np.float64) / 255, abs=5e-4)
