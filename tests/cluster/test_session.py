"""What a trial may ask of the machines, and the connection to them."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.growth import NodeKind
from cluster.session import GIBIBYTE, Node, Resources, Session, connect

ROOT = Path(__file__).parents[2]


def a_cluster(monkeypatch, *machines):
    """A session that sees the given machines."""
    nodes = tuple(Node(f"node{n}", f"10.0.0.{n}", machine) for n, machine in enumerate(machines))
    monkeypatch.setattr(Session, "nodes", property(lambda _: nodes))
    return Session(is_private=False)


@pytest.mark.parametrize(
    ("resources", "n_workers"),
    [
        (Resources(), 12),
        (Resources(cpus=3), 3),
        (Resources(cpus=0.5, gpus=0.1), 10),
        (Resources(gpus=0.25), 4),
        (Resources(gpus=1), 1),
        (Resources(memory_gib=4), 5),
        (Resources(custom={"fast_disk": 1}), 2),
    ],
)
def test_trials_are_counted_machine_by_machine(monkeypatch, resources, n_workers):
    """Cores of two machines do not add up to one trial; fractions of a device do fill it."""
    small = {"CPU": 4.0, "memory": 5.0 * GIBIBYTE, "fast_disk": 2.0}
    large = {"CPU": 8.0, "GPU": 1.0, "memory": 16.0 * GIBIBYTE}

    assert a_cluster(monkeypatch, small, large).n_workers_for(resources) == n_workers


def test_what_no_machine_can_give_is_said_at_once(monkeypatch):
    """The message says what is asked for and what there is."""
    session = a_cluster(monkeypatch, {"CPU": 2.0}, {"CPU": 4.0, "memory": GIBIBYTE})

    with pytest.raises(ValueError, match=r"8 CPU, 1 GPU.*node0 has 2 CPU; node1 has 4 CPU, 1\.0 GiB"):
        session.n_workers_for(Resources(cpus=8, gpus=1))


def test_machines_to_come_count_only_where_they_could_hold_a_trial(monkeypatch):
    """None there yet is no reason to refuse; none there ever is, and each kind is named."""
    there = a_cluster(monkeypatch, {"CPU": 0.0})
    to_come = (NodeKind("small", {"CPU": 4.0}, 10), NodeKind("gpu", {"CPU": 8.0, "GPU": 2.0}, 3))
    session = Session(is_private=False, to_come=to_come)

    assert session.n_workers_for(Resources(cpus=2)) == 0
    assert session.n_workers_to_come(Resources(cpus=2)) == 10 * 2 + 3 * 4
    assert session.n_workers_to_come(Resources(gpus=0.5)) == 3 * 4
    assert there.n_workers_to_come(Resources()) == 0
    with pytest.raises(ValueError, match=r"16 CPU, which no machine.*a new small would have 4 CPU; a new gpu would"):
        session.n_workers_for(Resources(cpus=16))


def test_machines_may_be_left_out(monkeypatch):
    """By their ids, as those are that cannot be prepared."""
    nodes = tuple(Node(f"n{n}", "", {"CPU": 2.0}, node_id=f"id{n}") for n in range(3))
    monkeypatch.setattr(Session, "nodes", property(lambda _: nodes))

    assert Session(is_private=False).n_workers_beside({"id0"}, Resources()) == 4
    assert Session(is_private=False).n_workers_beside({"id0", "id1", "id2"}, Resources()) == 0


@pytest.mark.parametrize(
    "amounts",
    [{"cpus": -1}, {"cpus": float("nan")}, {"cpus": 0}, {"gpus": 1.5}, {"memory_gib": float("inf")}],
)
def test_amounts_that_make_no_sense_are_refused(amounts):
    """Before anything is started."""
    with pytest.raises(ValueError, match="a trial asks for"):
        Resources(**amounts)


def test_a_client_address_and_a_size_for_a_foreign_cluster_are_refused():
    """Both are said before Ray is touched."""
    with pytest.raises(ValueError, match="Ray Client"), connect("ray://10.0.0.1:10001"):
        pass
    with pytest.raises(ValueError, match="size a private Ray"), connect("10.0.0.1:6379", cpus=4):
        pass


def test_a_private_ray_is_closed_to_others_and_small(ray_session):
    """Its folder belongs to this user alone, a token guards it, and it offers what was asked for."""
    parent = ray_session.log_folder.parents[2]

    assert stat.S_IMODE(parent.stat().st_mode) == 0o700
    assert len(os.environ["RAY_AUTH_TOKEN"]) >= 32
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert ray_session.is_private
    assert ray_session.resources["CPU"] == 2
    assert ray_session.n_workers_for(Resources()) == 2


@pytest.mark.usefixtures("ray_session")
def test_a_second_connection_in_one_process_is_refused():
    """It would be the first one in disguise."""
    with pytest.raises(ValueError, match="connected to Ray already"), connect(None):
        pass


@pytest.fixture
def listener():
    """The address of something that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_an_address_where_nothing_listens_is_refused_at_once(monkeypatch):
    """Ray would ask there for minutes."""
    import ray

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray was asked"))
        refusal = rf"^no cluster answers at {dead} \(connection refused\); `ray start --head` prints the address"
        with pytest.raises(ConnectionError, match=refusal), connect(dead):
            pass


def test_a_machine_too_busy_to_start_ray_is_told_in_a_sentence(monkeypatch, listener):
    """Ray's own exception has no type that could be told from a fault of the program."""
    import ray

    def init(**_):
        raise Exception("The current node timed out during startup. This could happen because")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(RuntimeError, match=r"^Ray did not start within 30 s, .*; try again"), connect(listener):
        pass


TWO_SWEEPS = """
import gc, sys
from pathlib import Path
import ray
from cluster.session import connect
from cluster.tuning import TrialRequest, run_trials

def managers():
    return [thing for thing in gc.get_objects() if type(thing).__name__ == "PlacementGroupResourceManager"]

def shutdown(**options):
    print("left:", len(managers()), flush=True)
    original(**options)

gc.disable()  # so that nothing is collected by chance
original, ray.shutdown = ray.shutdown, shutdown
for name in ("first", "second"):
    requests = [TrialRequest(f"{name}{n}", {"trial_id": f"{name}{n}"}, 1.0) for n in range(4)]
    with connect(None, cpus=2, gpus=0) as session:
        run = lambda payload: {**payload, "status": "finished", "row": {}}
        outcome = run_trials(requests, run, folder=Path(sys.argv[1]) / name, session=session)
        print(name, dict(outcome.statuses), "before:", len(managers()) > 0, flush=True)
"""


@pytest.mark.slow
def test_two_sweeps_in_one_process_end_one_after_the_other(tmp_path):
    """What Tune leaves is collected before Ray is left: collected in the midst of that, it ends the process."""
    ended = subprocess.run(
        [sys.executable, "-c", TWO_SWEEPS, str(tmp_path)],
        check=False, capture_output=True, text=True, cwd=ROOT, timeout=200,
    )  # fmt: skip

    said = [line for line in ended.stdout.splitlines() if line.startswith(("first", "second", "left"))]
    assert ended.returncode == 0, ended.stderr
    assert said == [
        "first {'finished': 4} before: True",
        "left: 0",
        "second {'finished': 4} before: True",
        "left: 0",
    ]
