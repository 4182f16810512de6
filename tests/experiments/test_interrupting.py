"""Commands that are ended on their way, by Ctrl-C or SIGTERM: one sentence, exit code 130, nothing left running."""

import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import psutil
import pytest

import experiments.fitting
import experiments.running
from cluster.lock import hold_folder
from cluster.session import connect
from cluster.tuning import Outcome
from experiments.destination import Destination
from experiments.running import FinishedSweep

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "experiments" / "sweeps" / "smoke.yaml"
# A process that a shell has put into the background is told to ignore Ctrl-C, and so are its children.
AS_FROM_A_TERMINAL = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from experiments.cli import main
main()
"""
SENTENCE = "ninthpower: stopped; what was finished is kept, and the same command goes on\n"


def by_ctrl_c(*_, **__):
    """As Python does."""
    raise KeyboardInterrupt


def by_sigterm(*_, **__):
    """As the operating system does."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


@pytest.mark.parametrize("ended", [by_ctrl_c, by_sigterm])
def test_a_command_that_is_ended_says_so_in_one_sentence(ninthpower, monkeypatch, tmp_path, ended):
    """Whatever it was at; afterwards SIGTERM means what it meant."""
    before = signal.getsignal(signal.SIGTERM)
    (tmp_path / "mine.csv").write_text("train_flops,test_error\n1,0.5\n")
    monkeypatch.setattr(experiments.fitting, "fit_runs", ended)

    done = ninthpower("fit", "mine.csv")

    assert (done.returncode, done.stderr, done.stdout) == (130, SENTENCE, "")
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_sweep_that_is_stopped_before_a_trial_has_finished_says_how_to_go_on(ninthpower, monkeypatch, tmp_path):
    """There is nothing to fit, which is no error."""
    outcome = Outcome(18, 0, {}, 0, 2, True, 1.0, 0.5)
    finished = FinishedSweep(outcome, None, tmp_path, Destination("sqlite:///x", is_beside=True))
    monkeypatch.setattr(experiments.running, "run_sweep", lambda *_, **__: finished)

    done = ninthpower("sweep", SMOKE)

    assert (done.returncode, done.stdout) == (130, "")
    command = f"ninthpower sweep {SMOKE}"
    assert done.stderr == f"ninthpower: stopped: 0 of 18 trials are done; `{command}` goes on with the rest\n"


def test_a_single_trial_is_one_trial():
    """In the words of an outcome."""
    one = Outcome(1, 0, {}, 0, 1, True, 1.0, 0.5)

    assert one.sentence("again") == "stopped: 0 of 1 trial is done; `again` goes on with the rest"


def test_the_same_sweep_twice_is_refused_before_ray_is_started(ninthpower, monkeypatch, tmp_path):
    """And before the first one's sweep file is written over."""
    folder = tmp_path / "results" / "smoke"
    monkeypatch.setattr("cluster.session.connect", lambda *_, **__: pytest.fail("Ray was started"))

    with hold_folder(folder / "trials"):
        done = ninthpower("sweep", SMOKE, "--set", "grid.seed=[0]")

    assert done.returncode == 2
    assert f"{folder / 'trials'} is in use by process {os.getpid()} on " in done.stderr
    assert not (folder / "sweep.json").exists()


def test_sigterm_while_ray_starts_is_told_to_whoever_had_it(monkeypatch):
    """When it has started: Ray would take the signal for itself, and end the process or not."""
    import ray

    from_ray = []

    def mine(number, _):
        raise Told(number)

    def init(**_):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
        os.kill(os.getpid(), signal.SIGTERM)
        from_ray.append("started")

    # Another test of this process may be connected.
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: from_ray.append("ended"))
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr("cluster.session._check_answers", lambda _: None)
    before = signal.signal(signal.SIGTERM, mine)
    try:
        with pytest.raises(Told, match=str(int(signal.SIGTERM))), connect("127.0.0.1:1"):
            pytest.fail("nobody was told")
        assert from_ray == ["started", "ended"]
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


class Told(Exception):
    """The owner of the signal has heard it."""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_is_ended_while_ray_starts_leaves_no_process(tmp_path, number):
    """As soon as the first process of Ray's is there; the whole group hears Ctrl-C, as from a terminal."""
    command = [sys.executable, "-c", AS_FROM_A_TERMINAL, "sweep", SMOKE, "--results", tmp_path]
    sweep = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not (started := psutil.Process(sweep.pid).children(recursive=True)):
        assert sweep.poll() is None, sweep.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if number == signal.SIGINT:
        os.killpg(sweep.pid, number)
    else:
        sweep.send_signal(number)
    _, said = sweep.communicate(timeout=120)

    assert (sweep.returncode, said) == (130, SENTENCE)
    assert psutil.wait_procs(started, timeout=120)[1] == []


UI = """
import http.server, sys, time
time.sleep(float(sys.argv[2]))
if len(sys.argv) > 3:
    sys.exit(int(sys.argv[3]))

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.timeout = 5
server.handle_request()
"""


@pytest.fixture
def ui(ninthpower, monkeypatch, tmp_path):
    """Run `ninthpower ui` with another program in the place of MLflow's server."""
    from experiments import ui as module

    def run(*arguments, port=None):
        port = module._free() if port is None else port
        command = [sys.executable, "-c", UI, str(port), *arguments]
        starter = types.SimpleNamespace(Popen=lambda _, **options: subprocess.Popen(command, **options))
        monkeypatch.setattr(module, "subprocess", types.SimpleNamespace(**{**vars(subprocess), **vars(starter)}))
        monkeypatch.setattr(module, "experiment_links", lambda *_: {"ninthpower/a": "http://there"})
        (tmp_path / "results").mkdir(exist_ok=True)
        (tmp_path / "results" / "mlflow.db").touch()
        return ninthpower("ui", "--port", port)

    return run


def test_the_ui_is_ready_when_it_answers(ui):
    """With its address, after those of the sweeps."""
    done = ui("0.5")

    first, last = done.stdout.splitlines()
    assert (done.returncode, first) == (0, "ninthpower/a  http://there")
    assert re.fullmatch(r"MLflow is ready on http://127\.0\.0\.1:\d+ \(end it with Ctrl-C\)", last)


def test_the_ui_that_does_not_come_up_is_not_called_ready(ui):
    """Its end is said, with its exit code."""
    done = ui("0.1", "3")

    assert (done.returncode, done.stdout) == (2, "")
    assert "MLflow's server ended before it answered (exit code 3); its words stand above" in done.stderr


def test_a_port_that_is_taken_is_said_with_the_option(ui):
    """Before anything is started."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = ui("0.1", port=port)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert re.search(
        rf"port {port} of this machine cannot be had \(address already in use\); give another by --port, ", done.stderr
    )
