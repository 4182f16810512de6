"""A headless browser from the distribution, without which these tests are skipped; two sweeps and MLflow on them."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from cluster.records import write_record
from experiments.comparing import compare_runs
from experiments.delivering import deliver, open_tracker
from experiments.fitting import fit_runs
from experiments.results import TRIALS_FOLDER, save_sweep
from experiments.sweep import parse_sweep
from scaling.compare import Setting

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
SWEEPS = {
    "tiny": {
        "name": "tiny", "description": "A *small* sweep.", "dataset": "digits", "family": "mlp",
        "grid": {"width": [4, 8, 16], "depth": [1], "n_train": [32, 64, 128, 256], "seed": [0, 1]},
        "training": {"epochs": 2}, "fit": {"resamples": 100},
    },
    "ways": {
        "name": "ways", "description": "Three ways of getting a model.", "dataset": "digits", "family": "mlp",
        "grid": {
            "width": [4, 8, 16, 32, 64], "depth": [1], "n_train": [32, 128, 512], "seed": [0, 1],
            "technique": ["baseline", {"distillation": {"teacher_width": 64}}, {"magnitude-pruning": {"density": 0.3}}],
        },
        "training": {"epochs": 2}, "fit": {"resamples": 100},
    },
}  # fmt: skip
# What each technique adds to training under which phase, and its inference compute and error over the baseline's.
EFFECTS = {
    "baseline": ("", 0.0, 1.0, 1.0), "distillation": ("teacher", 2.0, 1.0, 0.9),
    "magnitude-pruning": ("prune-finetune", 0.2, 0.3, 1.02),
}  # fmt: skip


def record(trial, sweep, number):
    """What a finished trial leaves, its error on a power law of its training compute."""
    phase, extra, lighter, better = EFFECTS[trial.technique]
    size = 10 * trial.width**2
    flops = 6.0 * size * trial.n_train
    phases = {"train": flops} | ({phase: extra * flops} if phase else {})
    spent = sum(phases.values())
    row = {
        "trial_id": trial.trial_id, "cell": trial.cell, "sweep": sweep, "dataset": "digits", "family": "mlp",
        "technique": trial.technique, "seed": trial.seed, "status": "finished", "width": trial.width, "depth": 1,
        "n_train": trial.n_train, "n_params": round(size * lighter), "train_flops": spent, "n_test": 447,
        **{f"train_flops_{name}": value for name, value in phases.items()}, **trial.technique_options,
        "inference_flops": 2.0 * size * lighter, "energy_joules": spent / 1e6, "energy_source": "estimated",
        "test_error": min(0.9, 30 * flops**-0.35 * better * (1 + 0.01 * (number % 7))),
    }  # fmt: skip
    return {
        "record_version": 1, "trial_id": trial.trial_id, "sweep": sweep, "status": "finished", "reason": "",
        "spec": trial.model_dump(mode="json"), "row": row, "curve": [], "phases": [],
        "environment": {"versions": {"python": "3"}}, "started_at": "2026-01-02T03:04:05+00:00",
        "ended_at": "2026-01-02T03:04:15+00:00",
    }  # fmt: skip


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """A results folder as two sweeps leave it, the techniques of one compared, all delivered to MLflow."""
    results = tmp_path_factory.mktemp("results")
    for name, content in SWEEPS.items():
        sweep, folder = parse_sweep(content), results / name
        save_sweep(sweep, folder)
        tracker = open_tracker(sweep, results, None)
        with tracker:
            for number, trial in enumerate(sweep.trials()):
                write_record(folder / TRIALS_FOLDER, record(trial, name, number))
                tracker.finished(record(trial, name, number))
        if name == "ways":
            costs = ["train_flops", "inference_flops"]
            compared = compare_runs([folder], costs=costs, setting=Setting(n_resamples=50))
            assert compared.problem == ""
        assert deliver(tracker, sweep, folder, fit_runs(folder).analysis) == ""
    return results


@pytest.fixture(scope="session")
def served(results):
    """The addresses that `ninthpower ui` prints, while it serves: ``base`` and one per sweep."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "experiments.cli", "ui", "--results", results, "--port", str(port)]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True, text=True
    )
    try:
        addresses = {}
        for line in server.stdout:
            words, address = line.split()[0], re.search(r"http://\S+", line).group(0)
            addresses[words.removeprefix("ninthpower/")] = address
            if words == "MLflow":
                break
        base = addresses.pop("MLflow")
        ends = time.monotonic() + 180
        while not _answers(f"{base}/health"):
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < ends, "the server does not answer"
            time.sleep(0.5)
        yield {"base": base, **addresses}
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


@pytest.fixture(scope="session")
def browser():
    """The browser, started once."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the PATH (apt-get install chromium)")
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser):
    """Open an address in a fresh page of some width; what the page complains of is collected in ``page.said``."""
    contexts = []

    def opened(address, *, width=1000, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.said = []
        page.on("console", lambda message: page.said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.said.append(request.url) if request.url.startswith("http") else None)
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
