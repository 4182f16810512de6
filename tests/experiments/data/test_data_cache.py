"""Arrays made once per node, under a lock, and never seen half-written."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from experiments.data import cache as cache_module
from experiments.data import default_cache_folder, default_data_folder
from experiments.data.cache import cached_arrays, content_hash

REPOSITORY = Path(__file__).resolve().parents[3]


def start(code, *arguments):
    """Start a Python of its own that sees the repository."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def ones():
    """Make a small array."""
    return {"ones": np.ones((3, 4), dtype=np.uint8)}


def forbidden():
    """Stand where nothing may be made."""
    raise AssertionError("made twice")


def test_arrays_are_made_once_and_mapped_read_only(tmp_path):
    """The second call makes nothing, and nobody can change what all share."""
    cached_arrays(tmp_path / "cache", "name", ones)

    arrays = cached_arrays(tmp_path / "cache", "name", forbidden)

    np.testing.assert_array_equal(arrays["ones"], np.ones((3, 4)))
    assert isinstance(arrays["ones"].base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        arrays["ones"][0, 0] = 2


def test_of_many_processes_that_start_at_once_one_makes_the_arrays(tmp_path):
    """Four processes, a maker that takes its time, one line in its diary, four equal answers."""
    code = """
        import sys, time
        from pathlib import Path
        import numpy as np
        from experiments.data.cache import cached_arrays

        def make():
            with open(sys.argv[1] + "/diary", "a") as diary:
                diary.write("made\\n")
            time.sleep(0.3)
            return {"numbers": np.arange(100_000)}

        print(cached_arrays(Path(sys.argv[1]) / "cache", "name", make)["numbers"].sum())
    """
    processes = [start(code, tmp_path) for _ in range(4)]
    answers = [process.communicate(timeout=60)[0].strip() for process in processes]

    assert answers == ["4999950000"] * 4
    assert (tmp_path / "diary").read_text() == "made\n"


def test_a_maker_that_is_killed_leaves_nothing_that_is_taken_for_data(tmp_path):
    """The lock of a dead process is free, and its temporary folder is not the cache."""
    code = """
        import os, signal, sys
        from pathlib import Path
        import numpy as np
        from experiments.data.cache import cached_arrays

        class Deadly:
            def items(self):
                yield "first", np.ones(10)
                os.kill(os.getpid(), signal.SIGKILL)

        cached_arrays(Path(sys.argv[1]), "name", Deadly)
    """
    killed = start(code, tmp_path)
    killed.communicate(timeout=60)

    assert killed.returncode == -9
    assert not (tmp_path / "name").exists()
    np.testing.assert_array_equal(cached_arrays(tmp_path, "name", ones)["ones"], np.ones((3, 4)))


def test_a_maker_that_fails_leaves_no_trace(tmp_path):
    """An error passes through; the next call makes the arrays as if nothing had been."""

    def fail():
        raise ValueError("damaged source")

    with pytest.raises(ValueError, match="damaged source"):
        cached_arrays(tmp_path, "name", fail)

    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []
    assert cached_arrays(tmp_path, "name", ones)


def test_the_cache_may_be_deleted_while_it_is_in_use(tmp_path):
    """What is mapped stays readable; the next call makes the arrays anew."""
    before = cached_arrays(tmp_path, "name", ones)
    shutil.rmtree(tmp_path)

    assert before["ones"].sum() == 12
    np.testing.assert_array_equal(cached_arrays(tmp_path, "name", ones)["ones"], before["ones"])


@pytest.mark.parametrize("victim", ["ones.npy", "arrays.json"])
def test_a_half_deleted_cache_is_made_anew(tmp_path, victim):
    """Whichever file goes first, what is left is not taken for the whole."""
    cached_arrays(tmp_path, "name", ones)
    (tmp_path / "name" / victim).unlink()

    assert cached_arrays(tmp_path, "name", ones)["ones"].sum() == 12


def test_a_writer_that_comes_second_keeps_what_the_first_has_published(tmp_path):
    """Two writers are possible where the lock itself was deleted; readers see one whole set."""

    def overtaken():
        cache_module._publish(tmp_path / "name", {"ones": np.full(3, 7)})
        return {"ones": np.full(3, 8)}

    assert cached_arrays(tmp_path, "name", overtaken)["ones"].tolist() == [7, 7, 7]
    assert not list(tmp_path.glob(".*.tmp"))


def test_readers_survive_a_cache_that_is_deleted_over_and_over(tmp_path):
    """Three processes read while a fourth deletes; none fails or sees a wrong number."""
    code = """
        import sys
        from pathlib import Path
        import numpy as np
        from experiments.data.cache import cached_arrays

        for _ in range(100):
            arrays = cached_arrays(Path(sys.argv[1]), "name", lambda: {"a": np.arange(500), "b": np.ones(500)})
            assert arrays["a"].sum() + arrays["b"].sum() == 125_250
        print("well")
    """
    readers = [start(code, tmp_path) for _ in range(3)]
    while any(reader.poll() is None for reader in readers):
        shutil.rmtree(tmp_path / "name", ignore_errors=True)

    assert [reader.communicate()[0].strip() for reader in readers] == ["well"] * 3


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy(tmp_path):
    """A file stands where the folder should be; a full disk ends in the same sentence."""
    (tmp_path / "file").write_text("")

    with pytest.raises(ValueError, match=r"cannot be written .*; set NINTHPOWER_CACHE to"):
        cached_arrays(tmp_path / "file", "name", ones)


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
    """The write fails; no half-written folder stays behind."""

    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)

    with pytest.raises(ValueError, match=r"No space left on device.*NINTHPOWER_CACHE"):
        cached_arrays(tmp_path, "name", ones)
    assert not list(tmp_path.glob(".*.tmp"))


def test_the_hash_of_files_follows_their_content_alone(tmp_path):
    """Moved files hash alike; one changed byte hashes otherwise, at the same size."""
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"one")
    before = content_hash([tmp_path / "a"])

    assert content_hash([tmp_path / "b"]) == before
    (tmp_path / "a").write_bytes(b"two")
    os.utime(tmp_path / "a", ns=(1, 1))
    assert content_hash([tmp_path / "a"]) != before


def test_the_environment_moves_both_folders(monkeypatch, tmp_path):
    """Without the variables both lie under ~/.cache/ninthpower, apart from each other."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NINTHPOWER_DATA", raising=False)
    monkeypatch.delenv("NINTHPOWER_CACHE", raising=False)
    base = tmp_path / ".cache" / "ninthpower"

    assert default_data_folder().parent == default_cache_folder().parent == base
    assert default_data_folder() != default_cache_folder()
    monkeypatch.setenv("NINTHPOWER_DATA", "~/images")
    monkeypatch.setenv("NINTHPOWER_CACHE", "/scratch/arrays")
    assert default_data_folder() == tmp_path / "images"
    assert default_cache_folder() == Path("/scratch/arrays")
