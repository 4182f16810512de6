"""Ray's own memory monitor, on a cluster of somebody else's: what it ends is repeated alone, and the sweep goes on."""

import inspect
import re
from types import SimpleNamespace

import pytest
import ray

from cluster.evictions import HEARERS, tell_evictions_as_deaths
from cluster.memory import machine_memory
from cluster.postponed import ran_out_of_memory
from cluster.records import read_records

GIBIBYTE = 2**30
# As Ray 2.60 says it.
SAID = "Task was killed due to the node running low on memory.\nMemory on the node was 15GB / 16GB"


class Manager:
    """As much of Tune's manager of actors as is asked for."""

    def __init__(self):
        self.heard = []

    def _actor_task_failed(self, tracked_actor_task, exception):
        self.heard.append((tracked_actor_task, exception))

    def _actor_start_failed(self, tracked_actor, exception):
        self.heard.append((tracked_actor, exception))


def test_an_eviction_is_told_as_the_death_of_an_actor_and_still_known_for_what_it_was():
    """In a trial and while a worker starts; told twice to translate, it is translated once."""
    manager = Manager()
    for _ in range(2):
        tell_evictions_as_deaths(SimpleNamespace(_actor_manager=manager))

    manager._actor_task_failed(tracked_actor_task="task", exception=ray.exceptions.OutOfMemoryError(SAID))
    manager._actor_start_failed(tracked_actor="actor", exception=ray.exceptions.OutOfMemoryError(SAID))

    assert [name for name, _ in manager.heard] == ["task", "actor"]
    for _, error in manager.heard:
        assert isinstance(error, ray.exceptions.RayActorError)
        assert ran_out_of_memory(error)


def test_other_errors_are_passed_on_as_they_are():
    """And a controller without such a manager is left alone."""
    manager, error = Manager(), ValueError("of a trial")
    tell_evictions_as_deaths(SimpleNamespace(_actor_manager=manager))
    tell_evictions_as_deaths(SimpleNamespace())

    manager._actor_task_failed(tracked_actor_task="task", exception=error)

    assert manager.heard == [("task", error)]


def test_tune_still_hears_of_errors_where_evictions_are_translated():
    """By names and arguments that Ray keeps to itself; where it has others, `cluster/evictions.py` must follow."""
    import ray.tune.execution.tune_controller as controller
    from ray.air.execution._internal.actor_manager import RayActorManager

    for name in HEARERS:
        assert hasattr(RayActorManager, name), f"RayActorManager of Ray {ray.__version__} has no {name} any more"
        parameters = list(inspect.signature(getattr(RayActorManager, name)).parameters)
        assert parameters[-1] == "exception", f"{name} of Ray {ray.__version__} takes {parameters}"
        calls = re.findall(rf"self\.{name}\((.*?)\)", inspect.getsource(RayActorManager), re.DOTALL)
        assert calls, f"Ray {ray.__version__} calls {name} nowhere"
        assert all("exception=" in call for call in calls), (
            f"Ray {ray.__version__} gives {name} its error without its name"
        )
    assert "self._actor_manager = RayActorManager(" in inspect.getsource(controller)


@pytest.mark.faults
@pytest.mark.slow
def test_a_sweep_survives_a_cluster_whose_memory_monitor_ends_its_workers(real_cluster, tmp_path):
    """The trial that takes too much is repeated alone and recorded; every other one finishes."""
    now = machine_memory()
    room = max(1.5 * GIBIBYTE, 0.1 * now.total)
    if now.used + 2 * room > 0.9 * now.total:
        pytest.skip("too little memory is free on this machine")
    real_cluster.environment |= {
        "RAY_memory_usage_threshold": f"{(now.used + room) / now.total:.4f}",
        "RAY_memory_monitor_refresh_ms": "100",
        # The worker itself gives way to nothing, so that it is Ray that acts.
        "NINTHPOWER_MEMORY_FRACTION": "1",
    }
    real_cluster.head()
    real_cluster.worker(cpus=2)
    driver = real_cluster.drive(n_trials=6, seconds=1.0, hungry_bytes=int(2 * room))
    output, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, output

    records = {record["trial_id"]: record for record in read_records(tmp_path / "records")}
    hungry = records.pop("t0001")
    assert (hungry["status"], hungry["attempts"], hungry["out_of_memory"]) == ("failed", 2, True), output
    assert hungry["reason"] == "given up after 2 attempts: out of memory: Ray ended its worker"
    assert {record["status"] for record in records.values()} == {"finished"}, output
    assert len(records) == 5
    reasons = {retry["reason"] for record in records.values() for retry in record["retries"]}
    assert reasons <= {"out of memory: Ray ended its worker"}
