"""Memory that runs short: who gives way, what is said of it, and what becomes of the trial."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cluster import memory as machine
from cluster.memory import Memory, MemoryGuard, allowed_fraction, machine_memory, resident_bytes
from cluster.records import read_records

ROOT = Path(__file__).parents[2]
GIBIBYTE = 2**30
# Trial 1 takes half a gibibyte after the other until it is ended; the others take nothing. Its notes say when it began.
SWEEP = """
import json, sys
from pathlib import Path
from cluster.session import connect
from cluster.tuning import TrialRequest, run_trials

def run(payload):
    import os, time
    with open(payload["notes"], "a") as notes:
        notes.write(f"{payload['number']}\\n")
    held = []
    if payload["number"] == 1:
        for _ in range(payload["steps"]):
            held.append(bytearray(os.urandom(2**20)) * (payload["step_bytes"] >> 20))
            time.sleep(payload["pause_seconds"])
    return {"trial_id": payload["trial_id"], "status": "finished", "row": {"held": len(held)}}

settings = json.loads(sys.argv[1])
requests = [
    TrialRequest(f"t{n}", {"trial_id": f"t{n}", "number": n, **settings}, -n, known={"row": {"n": n}}) for n in range(4)
]
with connect(None, cpus=2, gpus=0) as session:
    outcome = run_trials(requests, run, folder=Path(settings["records"]), session=session)
    print(json.dumps([dict(outcome.statuses), outcome.n_retries]))
"""


def sweep(folder, environment=None, before=(), **settings):
    """Run four trials, of which one takes too much, in a process of its own; return its words, records and notes."""
    settings = {"records": str(folder / "records"), "notes": str(folder / "notes"), **settings}
    ended = subprocess.run(
        [*before, sys.executable, "-c", SWEEP, json.dumps(settings)],
        check=True, capture_output=True, text=True, cwd=ROOT, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
    )  # fmt: skip
    records = {record["trial_id"]: record for record in read_records(folder / "records")}
    return json.loads(ended.stdout.splitlines()[-1]), records, (folder / "notes").read_text().split()


@pytest.mark.faults
@pytest.mark.slow
def test_a_trial_that_fills_the_machine_is_tried_once_alone_and_then_recorded(tmp_path):
    """Its worker gives way before the kernel acts; nobody else is harmed; its record says in a sentence why."""
    now = machine_memory()
    room = max(1.5 * GIBIBYTE, 0.1 * now.total)
    if now.used + 2 * room > 0.9 * now.total:
        pytest.skip("too little memory is free on this machine")
    fraction = (now.used + room) / now.total

    printed, records, notes = sweep(
        tmp_path, {"NINTHPOWER_MEMORY_FRACTION": f"{fraction:.4f}"},
        steps=40, step_bytes=int(room / 8), pause_seconds=0.3,
    )  # fmt: skip

    assert printed == [{"finished": 3, "failed": 1}, 2]
    assert notes.count("1") == 2
    assert notes[-1] == "1"
    assert {notes.count(other) for other in "023"} == {1}
    record = records["t1"]
    assert record["out_of_memory"]
    assert (record["status"], record["attempts"], record["row"]["n"]) == ("failed", 2, 1)
    assert record["reason"].startswith("given up after 2 attempts: out of memory: its worker held ")
    assert record["reason"].endswith(f" of {now.total / GIBIBYTE:.1f} GiB were in use")
    assert "\n" not in record["reason"]


CGROUP = Path("/sys/fs/cgroup/memory")


@pytest.mark.faults
@pytest.mark.slow
def test_a_trial_that_the_kernel_ends_is_tried_once_alone_and_then_recorded(tmp_path):
    """One allocation of more than a container has, too fast for the worker's own look."""
    group = CGROUP / f"ninthpower-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(3 * GIBIBYTE))
    except OSError:
        pytest.skip("no control group can be made here (version 1, as root)")
    try:
        printed, records, notes = sweep(
            tmp_path, before=("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"),
            steps=1, step_bytes=8 * GIBIBYTE, pause_seconds=0,
        )  # fmt: skip
    finally:
        for _ in range(100):
            for process in (group / "cgroup.procs").read_text().split():
                os.kill(int(process), 9)
            time.sleep(0.1)
            if not (group / "cgroup.procs").read_text():
                break
        group.rmdir()

    assert printed == [{"finished": 3, "failed": 1}, 2]
    assert notes.count("1") == 2
    assert records["t1"]["out_of_memory"]
    assert records["t1"]["attempts"] == 2
    assert records["t1"]["reason"].startswith("given up after 2 attempts: out of memory: ")


def test_a_machine_tells_its_memory_as_psutil_does():
    """Unless a container is tighter than the machine."""
    found, other = machine_memory(), psutil.virtual_memory()

    assert 0 < found.used < found.total <= other.total
    if found.total == other.total:
        assert found.fraction == pytest.approx(1 - other.available / other.total, abs=0.05)


def test_a_process_that_takes_memory_holds_as_much_more():
    """64 MiB that are written to."""
    before = resident_bytes(os.getpid())
    held = bytearray(os.urandom(2**20)) * 64

    assert resident_bytes(os.getpid()) - before == pytest.approx(len(held), rel=0.1)
    assert resident_bytes(2**31 - 1) == 0


def test_siblings_are_the_other_children_of_the_same_parent():
    """Seen from a child of this process, another child is one and this process is none."""
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            command = [sys.executable, "-c", "from cluster.memory import siblings; print(*siblings())"]
            seen = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()
        finally:
            other.kill()

    assert str(other.pid) in seen
    assert str(os.getpid()) not in seen


@pytest.mark.parametrize(
    ("controller", "files", "expected"),
    [
        ("", {"memory.max": "1000", "memory.current": "900", "memory.stat": "anon 1\ninactive_file 300"}, (600, 1000)),
        ("", {"memory.max": "max", "memory.current": "900", "memory.stat": "inactive_file 300"}, None),
        (
            "memory",
            {"memory.limit_in_bytes": "1000", "memory.usage_in_bytes": "950", "memory.stat": "total_inactive_file 50"},
            (900, 1000),
        ),
        ("memory", {"memory.limit_in_bytes": "9223372036854771712", "memory.usage_in_bytes": "9"}, None),
        ("cpu", {"memory.max": "1000", "memory.current": "900", "memory.stat": "inactive_file 0"}, None),
    ],
)
def test_a_container_is_looked_at_before_the_machine(tmp_path, monkeypatch, controller, files, expected):
    """Control groups of both versions; without a limit it is the machine's own memory that counts."""
    processes, groups = tmp_path / "proc", tmp_path / "cgroup"
    (processes / "self").mkdir(parents=True)
    (processes / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable: 90 kB\n")
    (processes / "self" / "cgroup").write_text(f"0:{controller}:/jobs/7\n")
    folder = groups / controller / "jobs" / "7"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(machine, "_PROCESSES", processes)
    monkeypatch.setattr(machine, "_CGROUPS", groups)

    assert machine_memory() == Memory(*(expected or (10 * 1024, 100 * 1024)))


class Looks:
    """A machine that shows one state after the other, the last one for ever."""

    def __init__(self, *fractions, total):
        self._states = [Memory(int(fraction * total), total) for fraction in fractions]
        self.n = 0

    def __call__(self):
        self.n += 1
        return self._states[min(self.n, len(self._states)) - 1]


def said_by(looks, trial_id="a", n_looks=12):
    """What a guard says of a trial until it has looked so often."""
    said = []
    guard = MemoryGuard(lambda *words: said.append(words), fraction=0.9, memory=looks, pause_seconds=0.001)
    guard.trial_id = trial_id
    guard.start()
    deadline = time.monotonic() + 10
    while not said and looks.n < n_looks and time.monotonic() < deadline:
        time.sleep(0.001)
    guard.trial_id = None
    return said


SMALL = 100 * 2**20


def test_the_worker_that_holds_most_gives_way_when_memory_stays_short(monkeypatch):
    """At the second look, in one sentence."""
    monkeypatch.setattr(machine, "siblings", lambda: [])

    ((trial_id, sentence),) = said_by(Looks(0.5, 0.5, 0.95, total=SMALL))

    assert trial_id == "a"
    assert sentence.startswith("out of memory: its worker held 0.")
    assert sentence.endswith("when 0.1 of 0.1 GiB were in use")


@pytest.mark.parametrize(
    ("looks", "trial_id", "sibling_holds"),
    [
        (Looks(0.5, 0.9, total=SMALL), "a", 0),
        (Looks(0.5, 0.95, 0.5, 0.95, 0.5, 0.95, 0.5, total=SMALL), "a", 0),
        (Looks(*(0.999 - 0.001 * n for n in range(20)), total=SMALL), "a", 0),
        (Looks(0.95, total=SMALL), None, 0),
        (Looks(0.95, total=SMALL), "a", 2**50),
        (Looks(0.95, total=2**50), "a", 0),
    ],
    ids=[
        "not short",
        "short for a moment",
        "falling",
        "no trial runs",
        "a sibling holds more",
        "holds next to nothing",
    ],
)
def test_a_worker_stays_where_its_end_would_not_help(monkeypatch, looks, trial_id, sibling_holds):
    """Nothing is said and nothing ended."""
    own = os.getpid()
    monkeypatch.setattr(machine, "siblings", lambda: [own + 1])
    real = resident_bytes(own)
    monkeypatch.setattr(machine, "resident_bytes", lambda process: real if process == own else sibling_holds)

    assert said_by(looks, trial_id) == []
    assert looks.n >= 12


@pytest.mark.parametrize("text", ["0", "1.1", "much", "-1", "nan"])
def test_a_fraction_of_the_memory_lies_above_0_and_up_to_1(monkeypatch, text):
    """The sentence has the value and an example."""
    monkeypatch.setenv("NINTHPOWER_MEMORY_FRACTION", text)

    with pytest.raises(ValueError, match=f"is '{text}'; give a number above 0 and up to 1"):
        allowed_fraction()


def test_without_a_setting_a_worker_gives_way_at_nineteen_twentieths(monkeypatch):
    """As Ray's own monitor would."""
    monkeypatch.delenv("NINTHPOWER_MEMORY_FRACTION", raising=False)

    assert allowed_fraction() == 0.95
