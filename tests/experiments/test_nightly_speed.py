"""`benchmarks/nightly_speed.py`: what is kept, what is told, and its exit codes; the timings themselves are given."""

import importlib
import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def speed(monkeypatch, tmp_path):
    """The program, with ratios that are given instead of measured."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    program = importlib.import_module("nightly_speed")

    def run(name, *more, **changed):
        ratios = {key: 10 * limit.at_least for key, limit in program.LIMITS.items()} | changed
        monkeypatch.setattr(program, "MEASURES", (lambda: ratios,))
        return program.main(["--nights", str(tmp_path / "nights"), "--name", name, *more])

    run.nights = tmp_path / "nights"
    return run


pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


def test_a_night_within_its_limits_passes_and_is_told(speed, tmp_path, monkeypatch, capsys):
    """Exit code 0; the step summary, the file and the print say the same."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))

    assert speed("one") == 0
    text = (tmp_path / "nights" / "one" / "speed.md").read_text()
    assert "every ratio keeps to its limit" in text
    assert text.strip() == (tmp_path / "step.md").read_text().strip() == capsys.readouterr().out.strip()


def test_a_slow_fit_fails_by_name(speed, capsys):
    """Exit code 1, and which ratio it is."""
    assert speed("one", "--json", fit=1e-3) == 1
    [failure] = json.loads(capsys.readouterr().out)["failures"]
    assert failure.startswith("fit is 0.001, below its limit")


def test_the_history_is_kept_and_judged_by(speed, capsys):
    """Five nights in MLflow make a usual; half of it fails, though the limit is kept. A night again counts once."""
    for number in range(5):
        assert speed(f"night-{number}", fit=100.0) == 0
    assert speed("slow", "--json", fit=50.0) == 1
    assert speed("slow", fit=100.0) == 0

    assert "100 that 5 nights had" in capsys.readouterr().out


def test_a_history_that_does_not_answer_is_no_verdict(speed, capsys, monkeypatch):
    """Exit code 2, the reason, and nothing is measured in vain."""
    for name, value in (("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0"), ("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")):
        monkeypatch.setenv(name, value)

    assert speed("one", "--tracking-uri", "http://127.0.0.1:9") == 2
    assert "cannot be judged" in capsys.readouterr().err


def test_a_measurement_that_dies_is_no_verdict_and_no_failure_of_speed(speed, monkeypatch, capsys):
    """The process that drives the sweep ends with code 1, as one does that Ray ends: code 2, and what it said."""
    assert speed is not None
    program = importlib.import_module("nightly_speed")
    monkeypatch.setattr(program.sys, "executable", "false")

    with pytest.raises(ValueError, match="ended with code 1 and said: nothing"):
        program.sweep_ratios_apart()
    monkeypatch.setattr(program, "MEASURES", (program.sweep_ratios_apart,))
    assert program.main(["--nights", str(speed.nights), "--name", "one"]) == 2
    assert "ended with code 1" in capsys.readouterr().err


def test_every_measured_ratio_has_a_limit(speed, monkeypatch):
    """The real measurements, as short as they can be, apart from the sweep's, which takes a minute."""
    assert speed is not None
    program = importlib.import_module("nightly_speed")
    monkeypatch.setattr(program.training_throughput, "time_ours", lambda *_: 1.0)
    monkeypatch.setattr(program.training_throughput, "time_bare", lambda *_: 1.5)

    found = {**program.training_ratios(), **program.fit_ratios(starts=2, resamples=100)}

    assert set(found) | {"sweep"} == set(program.LIMITS)
    assert found["train-mlp"] == pytest.approx(1.5)
    assert found["fit"] > 0
