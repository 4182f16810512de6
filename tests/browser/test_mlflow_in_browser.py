"""The MLflow UI on a sweep's results as its user has it: its runs, and the report among its artifacts."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from cluster.records import write_record
from experiments.results import TRIALS_FOLDER, save_sweep
from experiments.running import deliver, fit_runs, open_tracker
from experiments.sweep import parse_sweep

SWEEP = {
    "name": "tiny", "description": "A *small* sweep.", "dataset": "digits", "family": "mlp",
    "grid": {"width": [4, 8, 16], "depth": [1], "n_train": [32, 64, 128, 256], "seed": [0, 1]},
    "training": {"epochs": 2}, "fit": {"resamples": 100},
}  # fmt: skip


def record(trial, number):
    """What a finished trial leaves, its error on a power law of its cost."""
    flops = 60.0 * trial.width**2 * trial.n_train
    row = {
        "trial_id": trial.trial_id, "sweep": "tiny", "dataset": "digits", "family": "mlp", "technique": "baseline",
        "seed": trial.seed, "status": "finished", "width": trial.width, "depth": 1, "n_train": trial.n_train,
        "n_params": 10 * trial.width**2, "train_flops": flops, "energy_joules": flops / 1e6, "n_test": 447,
        "energy_source": "estimated", "test_error": 30 * flops**-0.35 * (1 + 0.01 * (number % 7)),
    }  # fmt: skip
    return {
        "record_version": 1, "trial_id": trial.trial_id, "sweep": "tiny", "status": "finished", "reason": "",
        "spec": trial.model_dump(mode="json"), "row": row, "curve": [], "phases": [],
        "environment": {"versions": {"python": "3"}}, "started_at": "2026-01-02T03:04:05+00:00",
        "ended_at": "2026-01-02T03:04:15+00:00",
    }  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results folder as a sweep leaves it, delivered to MLflow."""
    results = tmp_path_factory.mktemp("results")
    sweep = parse_sweep(SWEEP)
    folder = results / "tiny"
    save_sweep(sweep, folder)
    tracker = open_tracker(sweep, results, None)
    with tracker:
        for number, trial in enumerate(sweep.trials()):
            write_record(folder / TRIALS_FOLDER, record(trial, number))
            tracker.finished(record(trial, number))
    assert deliver(tracker, sweep, folder, fit_runs(folder).analysis) == ""
    return results


@pytest.fixture(scope="module")
def served(results):
    """The addresses that `ninthpower ui` prints, while it serves."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "experiments.cli", "ui", "--results", results, "--port", str(port)]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True, text=True
    )
    try:
        experiment, base = (server.stdout.readline() for _ in range(2))
        base = re.search(r"http://\S+", base).group(0)
        ends = time.monotonic() + 180
        while not _answers(f"{base}/health"):
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < ends, "the server does not answer"
            time.sleep(0.5)
        yield {"base": base, "experiment": re.search(r"http://\S+", experiment).group(0)}
    finally:
        # At once: in order it would wait for the browser's open connections.
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(30)
        server.stdout.close()


def _answers(address):
    try:
        with urllib.request.urlopen(address, timeout=2):
            return True
    except OSError:
        return False


@pytest.mark.slow
def test_the_address_that_is_printed_shows_every_run(open_page, served):
    """In MLflow's view of training runs, with the sweep's description."""
    page = open_page(served["experiment"])
    page.get_by_text("25 matching runs").wait_for(timeout=60_000)

    assert page.get_by_text("A small sweep.").count()
    assert page.get_by_text("baseline-mlp-w", exact=False).count() > 10


@pytest.mark.slow
def test_the_report_among_the_artifacts_works_and_its_points_lead_to_their_runs(open_page, served, results):
    """Inside MLflow's frame the chart turns; from disk, the link of a point opens the run of that trial."""
    page = open_page(served["experiment"])
    name = page.locator("a[href*='/runs/']").filter(has_text=re.compile("^tiny$")).first
    name.wait_for(timeout=60_000)
    address = name.get_attribute("href")
    page.goto(f"{served['base']}/{address[address.index('#') :]}/artifacts/report.html")
    page.locator("iframe").first.wait_for(timeout=60_000)
    frame = next(one for one in page.frames if one.url.startswith("blob:"))
    frame.wait_for_selector("#chart svg")
    frame.select_option("#chart-cost", "energy_joules")
    assert frame.evaluate("window.chartState().cost") == "energy_joules"
    assert frame.evaluate("window.chartState().drawn") == 24

    report = open_page((results / "tiny" / "report.html").as_uri())
    report.locator("#chart-trial").press("End")
    trial = report.inner_text("#chart-details strong").removeprefix("Trial ")
    link = report.locator("#chart-details a").get_attribute("href")
    run = open_page(link.replace("http://127.0.0.1:5000", served["base"]))
    run.get_by_text(trial).first.wait_for(timeout=60_000)
