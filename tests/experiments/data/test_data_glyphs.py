"""Glyphs are functions of their index, drawn once, on demand, and learnable but not trivial."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.data import check_dataset, describe_dataset, load_dataset, nested_subset
from experiments.data.glyph_atlas import FIELD_TEXELS, FONTS, INK_TEXELS, LETTERS, STEPS_PER_TEXEL, draw_atlas
from experiments.data.glyph_looks import draw_looks
from experiments.data.glyph_render import render_glyphs
from experiments.data.glyph_store import StoredExamples

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def cache_folder(tmp_path_factory):
    """A cache for this file, in which the atlas is drawn once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def glyphs(cache_folder):
    """The glyphs as they come by default."""
    return load_dataset("glyphs", cache_folder=cache_folder)


@pytest.fixture(scope="module")
def atlas():
    """Distance fields, drawn without the cache."""
    return draw_atlas()


def test_letters_lie_in_the_middle_of_their_fields(atlas):
    """The longer side of each letter's ink is as stated, to two texels, and the middle is the middle."""
    assert atlas.shape == (len(LETTERS), len(FONTS), 2, FIELD_TEXELS, FIELD_TEXELS)
    for field in atlas.reshape(-1, FIELD_TEXELS, FIELD_TEXELS):
        rows, columns = np.nonzero(field > 0)
        sides = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert abs(max(sides) - INK_TEXELS) <= 2
        assert abs(rows.min() + rows.max() - (FIELD_TEXELS - 1)) <= 2
        assert abs(columns.min() + columns.max() - (FIELD_TEXELS - 1)) <= 2


def test_fields_hold_the_distance_to_the_outline(atlas):
    """Outside the letter, brute force over its ink finds the same distances to half a texel."""
    field = atlas[0, 0, 0]
    ink = np.argwhere(field > 0)
    for row, column in [(48, 5), (3, 48), (90, 60), (20, 20)]:
        nearest = np.sqrt(((ink - (row, column)) ** 2).sum(axis=1)).min() - 0.5
        assert -field[row, column] / STEPS_PER_TEXEL == pytest.approx(min(nearest, 127 / 8), abs=0.75)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=40))
def test_a_glyph_depends_on_nothing_but_split_and_index(atlas, indices):
    """Alone or in any company, in any order, it has the same bytes."""
    together = render_glyphs(atlas, "train", np.array(indices), 28)

    for position, index in enumerate(indices[:5]):
        np.testing.assert_array_equal(render_glyphs(atlas, "train", np.array([index]), 28)[0], together[position])


def test_the_numbers_behind_a_glyph_are_the_same_for_ever():
    """Pose and noise level of one glyph, fixed when it was first drawn; fonts may change, these not."""
    looks = draw_looks("test", np.array([12_345]))

    assert float(looks.turn[0]) == pytest.approx(0.2787765860557556, rel=1e-6)
    assert float(looks.noise[0]) == pytest.approx(0.1884617954492569, rel=1e-6)


def test_splits_share_no_glyph(glyphs):
    """The same index shows another glyph in each split, with the same label."""
    indices = np.arange(200)
    train, validation, test = (part.read(indices) for part in (glyphs.train, glyphs.validation, glyphs.test))

    assert len(np.unique(np.concatenate([train, validation, test]).reshape(600, -1), axis=0)) == 600
    np.testing.assert_array_equal(glyphs.train.labels[:200], glyphs.test.labels[:200])


def test_a_larger_pool_begins_with_the_smaller(cache_folder, glyphs):
    """The millionth glyph does not change the first."""
    larger = load_dataset("glyphs?pool=2000000", cache_folder=cache_folder)
    indices = np.array([0, 5, 999_999])

    assert (len(glyphs.train), len(larger.train)) == (1_000_000, 2_000_000)
    np.testing.assert_array_equal(larger.train.read(indices), glyphs.train.read(indices))
    assert larger.train.read(np.array([1_999_999])).shape == (1, 1, 28, 28)


def test_the_description_is_true(glyphs):
    """Shape, sizes, balance, and pixel statistics to a hundredth."""
    info = describe_dataset("glyphs")
    pixels = glyphs.train.read(nested_subset(glyphs.train.labels, 3000, 0)) / 255

    assert info == glyphs.info
    assert info.shape == (1, 28, 28) == pixels.shape[1:]
    assert [len(part) for part in (glyphs.train, glyphs.validation, glyphs.test)] == [1_000_000, 5_000, 10_000]
    assert np.bincount(glyphs.test.labels).tolist() == [1000] * info.n_classes
    assert info.mean[0] == pytest.approx(pixels.mean(), abs=0.01)
    assert info.std[0] == pytest.approx(pixels.std(), abs=0.01)


@pytest.mark.parametrize("size", [8, 13, 64])
def test_other_sizes_show_the_same_glyphs(cache_folder, glyphs, size):
    """Averaged to a coarse grid, a glyph of another size resembles that of 28 pixels more than others."""
    other = load_dataset(f"glyphs?size={size}", cache_folder=cache_folder)
    indices = np.arange(0, 400, 10)
    images = other.test.read(indices)
    coarse = [shrunk(parts[:, 0]) for parts in (images, glyphs.test.read(indices))]
    likeness = np.corrcoef(*coarse)[: len(indices), len(indices) :]

    assert images.shape == (40, 1, size, size)
    assert (likeness.argmax(axis=1) == np.arange(40)).mean() > 0.4  # chance: 0.025


def shrunk(images):
    """Average images over a 4 x 4 grid, shape (n, 16)."""
    bounds = np.linspace(0, images.shape[1], 5).astype(int)
    rows = np.add.reduceat(images.astype(float), bounds[:-1], axis=1)
    return np.add.reduceat(rows, bounds[:-1], axis=2).reshape(len(images), -1)


def test_glyphs_can_be_learnt_but_not_at_once(glyphs):
    """Nearest neighbours err less with ten times the examples, better than chance, far from perfect."""
    test = glyphs.test.read(np.arange(500)).reshape(500, -1).astype(np.float32)
    errors = []
    for n_train in (100, 1000, 10_000):
        chosen = nested_subset(glyphs.train.labels, n_train, 0)
        train = glyphs.train.read(chosen).reshape(n_train, -1).astype(np.float32)
        distances = (train**2).sum(axis=1) - 2 * test @ train.T
        errors.append((glyphs.train.labels[chosen][distances.argmin(axis=1)] != glyphs.test.labels[:500]).mean())

    assert 0.8 > errors[0] > 1.15 * errors[1] > 1.15**2 * errors[2] > 0.1


def counting(calls):
    """A drawing function that notes what it is asked for: rows of the index's own low byte."""

    def draw(indices):
        calls.extend(indices.tolist())
        return np.repeat((indices % 251).astype(np.uint8)[:, None], 12, axis=1).reshape(-1, 1, 3, 4)

    return draw


def store(folder, calls, count=200_000):
    """A store of small examples."""
    return StoredExamples(np.zeros(count, dtype=np.int64), (1, 3, 4), counting(calls), folder, "test")


def test_only_what_is_asked_for_is_drawn_and_only_once(tmp_path):
    """Of 200,000 examples the five wanted ones, each a single time, in the order asked for."""
    calls = []
    examples = store(tmp_path, calls)
    wanted = np.array([150_000, 7, 199_999, 8, 7, 0])

    for _ in range(2):
        np.testing.assert_array_equal(examples.read(wanted)[:, 0, 0, 0], wanted % 251)
        np.testing.assert_array_equal(store(tmp_path, calls).read(wanted)[:, 0, 0, 0], wanted % 251)
    assert sorted(calls) == [0, 7, 8, 150_000, 199_999]


def test_the_file_takes_room_only_for_what_was_drawn(tmp_path):
    """Two examples of 200,000: the checksums' blocks and a few more."""
    store(tmp_path, []).read(np.array([0, 199_999]))
    status = (tmp_path / "test.rows").stat()

    assert status.st_size == 200_000 * (4 + 12)
    if hasattr(status, "st_blocks"):
        assert status.st_blocks * 512 < 200_000 * 4 + 100_000


def test_a_row_that_lost_its_bytes_is_drawn_again(tmp_path):
    """After a power failure a checksum may stand where the pixels do not."""
    calls = []
    examples = store(tmp_path, calls)
    examples.read(np.array([3, 4]))
    with (tmp_path / "test.rows").open("r+b") as file:
        file.seek(200_000 * 4 + 3 * 12)
        file.write(bytes(6))

    np.testing.assert_array_equal(examples.read(np.array([3, 4]))[:, 0, 2, 3], [3, 4])
    assert calls == [3, 4, 3]


def test_reading_survives_the_deletion_of_the_cache(tmp_path):
    """Before a read and in the middle of one, the answer stays the same."""
    calls = []
    examples = store(tmp_path / "cache", calls)
    examples.read(np.array([3]))
    shutil.rmtree(tmp_path / "cache")

    np.testing.assert_array_equal(examples.read(np.array([3, 9]))[:, 0, 0, 0], [3, 9])

    def deleting(indices):
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        return counting(calls)(indices)

    again = StoredExamples(examples.labels, (1, 3, 4), deleting, tmp_path / "cache", "other")
    np.testing.assert_array_equal(again.read(np.array([5, 6]))[:, 0, 0, 0], [5, 6])


def test_processes_share_what_they_draw(tmp_path):
    """Three processes read overlapping thousands at once: right bytes, nothing drawn twice."""
    code = """
        import sys
        from pathlib import Path
        import numpy as np
        from experiments.data.glyph_store import StoredExamples

        def draw(indices):
            with open(sys.argv[1] + "/diary", "a") as diary:
                diary.write("".join(f"{index}\\n" for index in indices))
            return np.repeat((indices % 251).astype(np.uint8)[:, None], 12, axis=1).reshape(-1, 1, 3, 4)

        labels = np.zeros(200_000, dtype=np.int64)
        examples = StoredExamples(labels, (1, 3, 4), draw, Path(sys.argv[1]), "test")
        wanted = np.arange(0, 200_000, 50)
        print((examples.read(wanted)[:, 0, 1, 1] == wanted % 251).all())
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]

    assert [process.communicate(timeout=60)[0].strip() for process in processes] == ["True"] * 3
    diary = (tmp_path / "diary").read_text().split()
    assert len(diary) == len(set(diary)) == 4000


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("glyphs?size=7", "size is '7', but it is a whole number from 8 to 256"),
        ("glyphs?size=-28", "size is '-28'"),
        ("glyphs?pool=9", "pool is '9', but it is a whole number from 10 to"),
        ("glyphs?colour=1", "glyphs knows no option 'colour'; allowed are size, pool"),
        ("glyphs?size", "after '.' write option=value"),
        ("glyphs?size=8&size=9", "an option is given twice"),
    ],
)
def test_wrong_options_are_refused(name, sentence):
    """Before anything is drawn, with what is allowed."""
    with pytest.raises(ValueError, match=sentence):
        check_dataset(name)


def test_a_matplotlib_without_its_fonts_is_a_sentence(monkeypatch, tmp_path):
    """Some distributions ship it so."""
    import matplotlib

    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))

    with pytest.raises(ValueError, match=r"needs the font DejaVuSans\.ttf"):
        check_dataset("glyphs")
