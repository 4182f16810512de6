"""The shifted test set: what each corruption does, that it is fixed, and that labels stay."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from experiments.data import ArrayExamples, dataset_from_arrays, load_dataset
from experiments.data.shift import CORRUPTIONS, LARGE, ROTATION_DEGREES, SMALL, ShiftedExamples, corrupt

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (400, 3, 12, 12), dtype=np.uint8)
EXAMPLES = ArrayExamples(IMAGES, np.arange(400) % 7)


def test_labels_and_order_stay():
    """Only pixels change, and nearly every image does."""
    shifted = ShiftedExamples(EXAMPLES)
    images = shifted.read(np.arange(400))

    assert shifted.labels is EXAMPLES.labels
    assert (len(shifted), shifted.in_memory, images.dtype, images.shape) == (400, True, np.uint8, IMAGES.shape)
    assert (images != IMAGES).any(axis=(1, 2, 3)).mean() > 0.99


def test_an_image_is_shifted_alike_in_any_company():
    """Alone or in a batch, in any order."""
    shifted = ShiftedExamples(EXAMPLES, seed=3)
    together = shifted.read(np.arange(400))

    for index in (0, 17, 399):
        np.testing.assert_array_equal(shifted.read(np.array([index]))[0], together[index])
    np.testing.assert_array_equal(shifted.read(np.arange(400)[::-1]), together[::-1])


def test_the_seed_decides_what_each_image_suffers():
    """All twenty fates occur about equally often, and others under another seed."""
    many = ShiftedExamples(ArrayExamples(np.zeros((20_000, 1, 1, 1), np.uint8), np.zeros(20_000, np.int64)))
    kinds, severities = many.corruptions(np.arange(20_000))
    counts = np.bincount(5 * kinds + severities, minlength=20)
    others = ShiftedExamples(many.examples, seed=1).corruptions(np.arange(20_000))[0]

    assert (abs(counts - 1000) < 4.5 * 1000**0.5).all()
    assert (kinds != others).mean() == pytest.approx(0.75, abs=0.02)


def test_the_fates_are_the_same_for_ever():
    """A changed draw would change the shifted error under the same trial id."""
    kinds, severities = ShiftedExamples(EXAMPLES).corruptions(np.arange(8))

    assert kinds.tolist() == [1, 3, 1, 3, 1, 3, 0, 0]
    assert severities.tolist() == [1, 4, 1, 2, 2, 4, 4, 1]


@pytest.mark.parametrize("severity", range(5))
def test_a_rotation_turns_by_the_stated_angle(severity):
    """The direction of a bright bar, from its second moments, turns by that angle, half of them each way."""
    bar = np.zeros((1, 1, 41, 41), dtype=np.uint8)
    bar[..., 19:22, 6:35] = 255
    indices = np.arange(60)
    turned = corrupt(np.repeat(bar, 60, axis=0), "rotation", severity, indices=indices, seed=0)
    rows, columns = np.indices((41, 41)) - 20
    weights = turned[:, 0].astype(float)
    cross, wide, high = ((weights * moment).sum(axis=(1, 2)) for moment in (rows * columns, columns**2, rows**2))
    angles = np.degrees(np.arctan2(2 * cross, wide - high) / 2)

    np.testing.assert_allclose(abs(angles), ROTATION_DEGREES[severity], atol=0.5)
    assert 15 < (angles > 0).sum() < 45


@pytest.mark.parametrize("severity", range(5))
def test_a_blur_is_the_stated_gaussian(severity):
    """Along one axis and then the other, by another function of scipy; channels do not mix."""
    sigma = SMALL.blur_pixels[severity]
    smooth = gaussian_filter1d(gaussian_filter1d(IMAGES[:5] / 255, sigma, 2, mode="nearest"), sigma, 3, mode="nearest")

    blurred = corrupt(IMAGES[:5], "blur", severity, indices=np.arange(5), seed=0)

    np.testing.assert_allclose(blurred, smooth * 255, atol=0.51)


@pytest.mark.parametrize("severity", range(5))
def test_noise_has_the_stated_deviation(severity):
    """On even grey, where nothing is cut off, to 3%; other images get other noise."""
    grey = np.full((50, 1, 30, 30), 128, dtype=np.uint8)

    noise = corrupt(grey, "noise", severity, indices=np.arange(50), seed=0) / 255 - 128 / 255

    assert noise.std() == pytest.approx(SMALL.noise[severity], rel=0.03)
    assert abs(noise.mean()) < 0.003
    assert abs(np.corrcoef(noise.reshape(50, -1)))[~np.eye(50, dtype=bool)].max() < 0.2


@pytest.mark.parametrize("severity", range(5))
def test_contrast_shrinks_towards_each_channels_mean(severity):
    """The deviation shrinks by the stated factor and the mean stays, to the rounding of bytes."""
    pale = corrupt(IMAGES[:20], "contrast", severity, indices=np.arange(20), seed=0)

    np.testing.assert_allclose(pale.mean(axis=(2, 3)), IMAGES[:20].mean(axis=(2, 3)), atol=0.35)
    ratio = pale.std(axis=(2, 3)) / IMAGES[:20].std(axis=(2, 3))
    np.testing.assert_allclose(ratio, SMALL.contrast[severity], rtol=0.03)


def test_large_images_get_the_severities_of_large_images():
    """From 64 pixels on; the blur is that of 224 pixels, brought to the image's side."""
    spot = np.zeros((1, 1, 112, 112), dtype=np.uint8)
    spot[..., 40:72, 40:72] = 255
    expected = gaussian_filter1d(gaussian_filter1d(spot / 255, 3.0, 2, mode="nearest"), 3.0, 3, mode="nearest")

    assert LARGE.blur_pixels[4] == 6
    np.testing.assert_allclose(corrupt(spot, "blur", 4, indices=np.zeros(1, int), seed=0), expected * 255, atol=0.51)


def test_an_unknown_corruption_is_refused():
    """With the ones that there are."""
    with pytest.raises(ValueError, match="no corruption 'fog' of severity 0; allowed are rotation, blur"):
        corrupt(IMAGES, "fog", 0, indices=np.arange(400), seed=0)
    with pytest.raises(ValueError, match="severity 5"):
        corrupt(IMAGES, CORRUPTIONS[0], 5, indices=np.arange(400), seed=0)


def test_a_data_set_shifts_its_test_set():
    """With seed 0 unless another is asked for."""
    dataset = dataset_from_arrays("mine", (IMAGES, np.arange(400) % 7), (IMAGES[:50], np.arange(50) % 7))
    everything = np.arange(50)

    np.testing.assert_array_equal(dataset.shifted().read(everything), dataset.shifted(0).read(everything))
    assert (dataset.shifted(1).read(everything) != dataset.shifted(0).read(everything)).any()


def test_a_shift_makes_digits_harder(tmp_path):
    """Nearest neighbours err at least twice as often on the shifted digits, and better than chance."""
    digits = load_dataset("digits", cache_folder=tmp_path)
    everything = np.arange(len(digits.test))
    train = digits.train.read(np.arange(1100)).reshape(1100, -1).astype(float)

    def error(examples):
        images = examples.read(everything).reshape(len(everything), -1).astype(float)
        nearest = ((train**2).sum(axis=1) - 2 * images @ train.T).argmin(axis=1)
        return (digits.train.labels[nearest] != examples.labels).mean()

    assert 0.5 > error(digits.shifted()) > 2 * error(digits.test)
