"""Image folders: classes by name, validation cut from train, decoding on demand."""

import os

import numpy as np
import pytest
from PIL import Image

from experiments.data import check_dataset, describe_dataset, load_dataset

CLASSES = ("ant", "bee", "cat")


def write_image(path, colour, size=(40, 30)):
    """Write an image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def write_folder(root, parts=(("train", 20), ("val", 4))):
    """Write images whose red says the class, green the part and blue the number."""
    for part, count in parts:
        for label, name in enumerate(CLASSES):
            for number in range(count):
                write_image(root / part / name / f"{number:03d}.png", (80 * label, 20 * len(part), number))


@pytest.fixture
def root(tmp_path):
    """A small image folder."""
    write_folder(tmp_path / "images")
    return tmp_path / "images"


def load(root, options="?size=16"):
    """Load with a cache of the test's own."""
    return load_dataset(f"imagefolder:{root}{options}", cache_folder=root.parent / "cache")


def colours(examples):
    """Colour of the middle of each image."""
    return examples.read(np.arange(len(examples)))[:, :, 8, 8]


def test_every_image_lies_in_one_part_with_its_folders_label(root):
    """val/ is the test set; a tenth of train/ is held out, the same number of each class."""
    dataset = load(root)
    train, validation, test = (colours(part) for part in (dataset.train, dataset.validation, dataset.test))

    assert [len(part) for part in (train, validation, test)] == [54, 6, 12]
    for part, found in ((dataset.train, train), (dataset.validation, validation), (dataset.test, test)):
        np.testing.assert_array_equal(found[:, 0], 80 * part.labels)
    assert len({tuple(colour) for colour in np.concatenate([train, validation])}) == 60
    assert np.bincount(dataset.validation.labels).tolist() == [2, 2, 2]
    assert set(test[:, 1]) == {60}


def test_a_test_folder_makes_val_the_validation_set(root):
    """Then nothing is cut from train."""
    write_folder(root, (("test", 3),))

    dataset = load(root)

    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [60, 12, 9]
    assert set(colours(dataset.test)[:, 1]) == {80}


def test_a_test_folder_without_classes_is_passed_over(root):
    """ImageNet's own has its images side by side, without labels."""
    write_image(root / "test" / "ILSVRC2012_test_00000001.png", (1, 2, 3))

    assert len(load(root).validation) == 6


def test_the_description_decodes_nothing(root, monkeypatch):
    """Damaged files are counted as well, and the loaded data set says the same of itself."""
    (root / "train" / "ant" / "000.png").write_bytes(b"no image")
    name = f"imagefolder:{root}?size=16"
    monkeypatch.setenv("NINTHPOWER_CACHE", str(root.parent / "cache"))
    info = describe_dataset(name)

    assert info == load(root).info
    assert (info.n_train, info.n_validation, info.n_test, info.n_classes, info.shape) == (54, 6, 12, 3, (3, 16, 16))
    assert not load(root).train.in_memory


def test_the_middle_of_the_image_is_what_remains(tmp_path):
    """A wide image with a red, a green and a blue third: the green one is the square in the middle."""
    write_folder(tmp_path / "images")
    stripes = np.zeros((20, 60, 3), dtype=np.uint8)
    for third in range(3):
        stripes[:, 20 * third : 20 * third + 20, third] = 255
    target = tmp_path / "images" / "val" / "ant" / "000.png"
    Image.fromarray(stripes).save(target)
    wide = load(tmp_path / "images").test.read(np.array([0]))
    Image.fromarray(stripes.transpose(1, 0, 2)).save(target)
    high = load(tmp_path / "images").test.read(np.array([0]))

    for image in (wide[0], high[0]):
        # Shrinking averages over the border of the square, as it would before cutting.
        assert (image[1, 1:-1, 1:-1] == 255).all()
        assert (image[[0, 2], 1:-1, 1:-1] == 0).all()


def test_shrinking_averages(tmp_path):
    """A fine chequerboard becomes an even grey, not a moire; the mean stays."""
    write_folder(tmp_path / "images")
    board = (np.indices((128, 128)).sum(axis=0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "images" / "val" / "ant" / "000.png")

    image = load(tmp_path / "images").test.read(np.array([0]))

    assert image.shape == (1, 3, 16, 16)
    assert abs(image.astype(int) - 127.5).max() < 3


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_kind_of_image_becomes_red_green_and_blue(tmp_path, mode):
    """Grey, palette, transparent, printer's colours, black and white."""
    write_folder(tmp_path / "images")
    suffix = ".jpeg" if mode == "CMYK" else ".png"
    (tmp_path / "images" / "val" / "ant" / "000.png").unlink()
    Image.new("RGB", (300, 200), (255, 255, 255)).convert(mode).save(tmp_path / f"images/val/ant/000{suffix}")

    assert load(tmp_path / "images").test.read(np.array([0])).min() > 250


def test_order_and_repetition_are_kept_by_the_threads(root):
    """Many images at once, some twice, come in the order asked for."""
    dataset = load(root)
    indices = np.random.default_rng(0).integers(0, 54, 200)

    np.testing.assert_array_equal(dataset.train.read(indices), np.stack([
        dataset.train.read(np.array([index]))[0] for index in indices
    ]))  # fmt: skip


def test_a_damaged_image_is_named(root):
    """Cut off in the middle; the others can still be read."""
    path = root / "val" / "bee" / "001.png"
    path.write_bytes(path.read_bytes()[:60])
    test = load(root).test

    with pytest.raises(ValueError, match=r"001\.png cannot be read .*; mend it or take it away"):
        test.read(np.arange(12))
    assert test.read(np.array([0, 11])).shape == (2, 3, 16, 16)


def test_a_new_file_is_seen(root):
    """The list in the cache follows the folders."""
    before = len(load(root).test)
    write_image(root / "val" / "cat" / "new.jpg", (1, 2, 3))
    os.utime(root / "val" / "cat", ns=(1, 1))

    assert len(load(root).test) == before + 1


def test_a_relative_folder_lies_in_the_data_folder(tmp_path):
    """Trials run in folders of their own, where another relative path would mean nothing."""
    write_folder(tmp_path / "images")
    info = load_dataset("imagefolder:images?size=8", data_folder=tmp_path, cache_folder=tmp_path / "cache").info

    assert info.name == "imagefolder:images?size=8"
    assert info.n_train == 54


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda root: (root / "val").rename(root / "valid"), "there is no folder .*val; an image folder holds"),
        (lambda root: write_image(root / "val" / "dog" / "0.png", (0, 0, 0)), "class 'dog', which train has not"),
        (lambda root: [path.unlink() for path in root.glob("val/*/*")], "holds no image; looked for"),
        (
            lambda root: [path.unlink() for path in root.glob("train/cat/*")],
            "train has 0 images of the class 'cat'; at least 2",
        ),
    ],
)
def test_a_wrong_folder_is_described(root, spoil, sentence):
    """No val/, a class too many, no images, a class with none."""
    spoil(root)

    with pytest.raises(ValueError, match=sentence):
        load(root)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("imagefolder", "names no folder; write imagefolder:/path"),
        ("imagefolder:/nowhere", "there is no folder /nowhere/train"),
        ("imagefolder:/nowhere?size=5000", "size is '5000', but it is a whole number from 8 to 1024"),
        ("imagefolder:/nowhere?crop=5", "knows no option 'crop'; allowed are size"),
    ],
)
def test_a_wrong_name_is_refused(name, sentence):
    """With what to write in its place."""
    with pytest.raises(ValueError, match=sentence):
        check_dataset(name)
