"""Progress in a plain log, and quantities in words."""

import io

import pytest
from rich.console import Console

from experiments.progress import SweepProgress
from experiments.wording import bytes_text, count_text, energy_text, flops_text, seconds_text


class Clock:
    """Time that passes when the test says so."""

    now = 0.0

    def __call__(self):
        return self.now


def record(trial_id, error=0.1, flops=1e9, status="finished"):
    """What a finished trial leaves."""
    return {"trial_id": trial_id, "status": status, "row": {"test_error": error, "train_flops": flops}}


def progress(**options):
    """Progress of four equal trials into a string."""
    output, clock = io.StringIO(), Clock()
    trials = list("abcd")
    shown = SweepProgress(
        dict.fromkeys(trials, 10.0),
        dict.fromkeys(trials, 1e9),
        console=Console(file=output, width=200),
        clock=clock,
        **options,
    )
    return shown, output, clock


def test_a_line_says_done_running_spent_best_and_left():
    """After one of four equal trials in 30 s, 90 s are left."""
    shown, _, clock = progress()
    with shown:
        shown.started("a")
        shown.started("b")
        clock.now = 30.0
        shown.finished(record("a", error=0.25))

        assert shown.line() == "1 of 4 trials, 1 running, 1e+09 FLOP of 4e+09 FLOP, best error 25.00%, 1 min 30 s left"


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end():
    """No bar where there is no terminal, and not a line per trial."""
    shown, output, clock = progress()
    with shown:
        shown.started("a")
        shown.started("b")
        for trial, following, now in zip("abcd", ("c", "d", None, None), (1.0, 11.0, 12.0, 13.0), strict=True):
            clock.now = now
            shown.finished(record(trial))
            if following:
                shown.started(following)

    lines = output.getvalue().splitlines()
    # Not one running: the worker that was free had the next trial at once.
    assert [line.split(", ")[:2] for line in lines] == [["2 of 4 trials", "2 running"], ["4 of 4 trials", "0 running"]]


def test_what_did_not_finish_is_counted():
    """Diverged trials are done, and said."""
    shown, _, _ = progress()
    with shown:
        shown.finished(record("a", status="diverged", error=None))
        shown.retried("b", "worker died")

        assert "1 not finished, 1 begun again" in shown.line()


def test_quiet_means_quiet():
    """Nothing at all."""
    shown, output, clock = progress(quiet=True)
    with shown:
        clock.now = 100.0
        shown.retried("a", "worker died")
        shown.finished(record("a"))

    assert output.getvalue() == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (seconds_text(3.21), "3.2 s"),
        (seconds_text(59.7), "1 min 00 s"),
        (seconds_text(200), "3 min 20 s"),
        (seconds_text(7500), "2 h 05 min"),
        (flops_text(1.23e13), "1.2e+13 FLOP"),
        (count_text(950), "950"),
        (count_text(12_300), "12.3 k"),
        (count_text(4_560_000), "4.56 M"),
        (bytes_text(812 * 2**20), "812 MiB"),
        (bytes_text(3.4 * 2**30), "3.4 GiB"),
        (energy_text(820), "820 J"),
        (energy_text(432_000), "0.12 kWh"),
    ],
)
def test_quantities_in_words(words, expected):
    """One form everywhere."""
    assert words == expected
