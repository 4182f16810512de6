"""What a person who waits is told, and what a log is not; what every command says of itself."""

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from experiments.cli import app
from experiments.terminal import time_left, working
from scaling import compare
from scaling.calibrate import calibrate
from scaling.compare import Setting
from scaling.figure_one import simulate
from scaling.learners import Task

RUNS = pd.DataFrame({"train_flops": 10.0 ** np.arange(8), "test_error": 0.5 / 2.0 ** np.arange(8)})


class Heard(list):
    """Progress that remembers what it heard."""

    def __call__(self, n_done, n_all):
        self.append((n_done, n_all))


def two_techniques():
    """Two techniques on eight cells each."""
    parts = [
        RUNS.assign(technique=name, width=np.arange(8), test_error=RUNS["test_error"] * factor)
        for name, factor in (("baseline", 1.0), ("other", 0.8))
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(
    "work",
    [
        lambda heard: calibrate(RUNS, "power", n_sweeps=4, n_resamples=20, seed_noise=0.05, progress=heard),
        lambda heard: simulate(
            Task(20, 2), n_simulations=2, observations=(30,), lasso_observations=(30, 40), progress=heard
        ),
        lambda heard: compare(two_techniques(), costs=["train_flops"], setting=Setting(n_resamples=20), progress=heard),
    ],
    ids=["calibrate", "simulate", "compare"],
)
def test_long_work_says_how_far_it_is(work):
    """Part by part, the whole known from the start, never done before its last part has begun."""
    heard = Heard()
    work(heard)

    n_all = heard[0][1]
    assert heard == [(done, n_all) for done in range(n_all)]
    assert n_all > 1


def test_a_fit_says_how_far_it_is(tmp_path):
    """To its last part."""
    from experiments.fitting import fit_runs

    heard = Heard()
    RUNS.to_csv(tmp_path / "mine.csv", index=False)
    fit_runs(tmp_path / "mine.csv", laws=["power", "saturating"], progress=heard)

    n_all = heard[0][1]
    assert heard == [(done, n_all) for done in range(1, n_all)]


def test_the_time_left_is_that_of_the_parts_left():
    """A quarter in 30 s leaves 90 s; of nothing nothing is known."""
    assert time_left(1, 4, 30.0) == "1 min 30 s left"
    assert time_left(0, 4, 30.0) == ""


def test_a_terminal_shows_the_work_and_the_time_left():
    """Until it ends."""
    screen = io.StringIO()
    with working("counting", Console(file=screen, force_terminal=True, width=100)) as progress:
        progress(1, 2)
    assert "counting" in screen.getvalue()
    assert "0 s left" in screen.getvalue()


def test_a_log_is_told_nothing(capsys):
    """Standard output and error stay as the command leaves them."""
    with working("counting") as progress:
        progress(1, 2)
    assert capsys.readouterr() == ("", "")


COMMANDS = sorted(command.name or command.callback.__name__ for command in app.registered_commands)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_is_for_and_how_it_is_typed(command):
    """One line of purpose and an example that begins with its name; JSON where it prints a table."""
    shown = CliRunner().invoke(app, [command, "--help"], prog_name="ninthpower", env={"COLUMNS": "200"}).output
    lines = [line.strip() for line in shown.splitlines() if line.strip()]

    assert lines[0].startswith(f"Usage: ninthpower {command}")
    assert lines[1].endswith(".")
    assert any(line.startswith(f"Example: ninthpower {command}") for line in lines)


def test_the_exit_codes_are_documented():
    """Under the list of commands."""
    shown = CliRunner().invoke(app, ["--help"], prog_name="ninthpower", env={"COLUMNS": "200"}).output

    for words in (
        "0 done",
        "1 what was looked at",
        "2 what was asked cannot be done",
        "3 the sweep ended",
        "130 inter",
    ):
        assert words in " ".join(shown.split())
