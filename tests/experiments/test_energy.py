"""A node's energy is measured once and shared out."""

import json
import os
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.energy import EnergyAccount, EnergyReading, carbon_intensity
from experiments.energy_meter import Ledger, MeterServer


class Counters:
    """A node that has drawn what the test says."""

    def __init__(self, sources=None):
        self.sources = sources or {"cpu": "estimated", "ram": "estimated", "gpu": "measured"}
        self.parts = {"cpu": 0.0, "ram": 0.0}
        self.gpus = {}

    def draw(self, cpu=0.0, ram=0.0, **gpus):
        self.parts = {"cpu": self.parts["cpu"] + cpu, "ram": self.parts["ram"] + ram}
        self.gpus = {gpu: self.gpus.get(gpu, 0.0) + joules for gpu, joules in gpus.items()}

    def read(self):
        parts, gpus = self.parts, self.gpus
        self.parts, self.gpus = {"cpu": 0.0, "ram": 0.0}, {}
        return parts, gpus


def test_two_trials_share_by_the_processor_seconds_they_used():
    """One used three times the other's seconds and gets three times its joules."""
    counters, seconds = Counters(), {1: 10.0, 2: 20.0}
    ledger = Ledger(counters, seconds.get)
    first, second = ledger.begin(1, ()), ledger.begin(2, ())

    seconds.update({1: 11.0, 2: 23.0})
    counters.draw(cpu=80.0, ram=8.0)

    assert ledger.read(first)["joules"] == {"cpu": 20.0, "ram": 2.0, "gpu": 0.0}
    assert ledger.read(second)["joules"] == {"cpu": 60.0, "ram": 6.0, "gpu": 0.0}


def test_what_is_drawn_while_no_trial_runs_is_nobodys():
    """It is kept apart, not given to the next trial."""
    counters = Counters()
    ledger = Ledger(counters, lambda _: 0.0)
    counters.draw(cpu=5.0)
    token = ledger.begin(1, ())
    counters.draw(cpu=7.0)

    assert ledger.read(token, end=True)["joules"]["cpu"] == 7.0
    assert ledger.unattributed_joules == 5.0


def test_a_gpu_belongs_to_the_trials_on_it():
    """Alone it is measured; shared it is split equally, which is an estimate."""
    counters = Counters()
    ledger = Ledger(counters, lambda _: 0.0)
    alone, left, right = ledger.begin(1, ("a",)), ledger.begin(2, ("b",)), ledger.begin(3, ("b",))
    counters.draw(a=10.0, b=8.0, c=3.0)

    assert ledger.read(alone)["joules"]["gpu"] == 10.0
    assert ledger.read(alone)["sources"]["gpu"] == "measured"
    assert [ledger.read(token)["joules"]["gpu"] for token in (left, right)] == [4.0, 4.0]
    assert ledger.read(left)["sources"]["gpu"] == "estimated"
    assert ledger.unattributed_joules == 3.0


def test_a_process_that_died_takes_no_more_share():
    """Its account is closed and the others get what is drawn from then on."""
    counters, seconds = Counters(), {1: 0.0, 2: 0.0}
    ledger = Ledger(counters, seconds.get)
    _dead, living = ledger.begin(1, ()), ledger.begin(2, ())
    del seconds[1]
    counters.draw(cpu=6.0)

    assert ledger.read(living)["joules"]["cpu"] == 6.0


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.floats(0, 100), st.floats(0, 100), st.floats(0, 10)), min_size=1, max_size=40
    )
)
def test_the_trials_joules_sum_to_the_nodes(events):
    """Whatever begins, ends and is drawn in between, nothing is lost or counted twice."""
    counters, seconds, tokens, closed = Counters(), dict.fromkeys(range(5), 0.0), {}, []
    ledger = Ledger(counters, seconds.get)
    for pid, cpu, ram, used in events:
        counters.draw(cpu=cpu, ram=ram)
        seconds[pid] += used
        if pid in tokens:
            closed.append(ledger.read(tokens.pop(pid), end=True))
        else:
            tokens[pid] = ledger.begin(pid, ())
    closed += [ledger.read(token, end=True) for token in tokens.values()]

    shared = sum(sum(account["joules"].values()) for account in closed)
    drawn = sum(cpu + ram for _, cpu, ram, _ in events)
    assert shared + ledger.unattributed_joules == pytest.approx(drawn, abs=1e-6)
    assert ledger.node_joules == pytest.approx(drawn, abs=1e-6)


def test_a_reading_is_measured_only_if_every_part_was():
    """A modelled part makes the whole an estimate; a part that used nothing does not count."""
    sources = {"cpu": "measured", "ram": "estimated", "gpu": "measured"}

    assert EnergyReading({"cpu": 1.0, "ram": 1.0, "gpu": 0.0}, sources).source == "estimated"
    assert EnergyReading({"cpu": 1.0, "ram": 0.0, "gpu": 2.0}, sources).source == "measured"


def test_without_a_meter_energy_is_unknown_and_never_zero(tmp_path):
    """The trial goes on; the reading says why it knows nothing."""
    with EnergyAccount(socket_path=tmp_path / "nobody.sock") as account:
        reading = account.read()

    assert reading.total_joules is None
    assert reading.source == "unknown"
    assert "cannot be reached" in reading.reason


@pytest.fixture
def server(tmp_path):
    """A meter on its socket, with the counters that the test draws from."""
    counters = Counters()
    meter = MeterServer(tmp_path / "meter.sock", Ledger(counters, lambda _: 1.0))
    threading.Thread(target=meter.serve_forever, daemon=True).start()
    yield meter, counters, tmp_path / "meter.sock"
    meter.shutdown()
    meter.server_close()


def test_a_trial_reads_its_account_over_the_socket(server):
    """Phase by phase, then closes it."""
    _, counters, path = server
    with EnergyAccount(socket_path=path) as account:
        counters.draw(cpu=3.0)
        first = account.read().total_joules
        counters.draw(ram=4.0)
        second = account.read(end=True).total_joules

    assert (first, second) == (3.0, 7.0)


def test_the_socket_answers_nonsense_with_a_word_and_lives_on(server):
    """A broken request costs nobody else their account."""
    _, counters, path = server
    with EnergyAccount(socket_path=path) as account:
        account._file.write('{"do": "nonsense"}\nno json\n')
        account._file.flush()
        answers = [json.loads(account._file.readline()) for _ in range(2)]
        counters.draw(cpu=2.0)

        assert all("error" in answer for answer in answers)
        assert account.read().total_joules == 2.0
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_meter_that_stops_makes_the_rest_unknown(server):
    """Half a figure would be a wrong figure."""
    meter, _, path = server
    with EnergyAccount(socket_path=path) as account:
        meter.ledger.read(account._token, end=True)

        assert account.read().source == "unknown"


def test_this_nodes_meter_measures_real_work():
    """Two seconds of work on the real meter draw joules, and the carbon follows from the region."""
    with EnergyAccount() as account:
        deadline = time.perf_counter() + 2.0
        while time.perf_counter() < deadline:
            os.getpid()
        reading = account.read(end=True)

    assert reading.reason == ""
    assert reading.total_joules > 0
    assert reading.source in ("measured", "estimated")


def test_carbon_intensity_knows_countries_and_states():
    """France's grid is cleaner than that of the United States; codecarbon's tables say so offline."""
    assert 20 < carbon_intensity("FRA") < 100 < carbon_intensity("USA") < 500
    assert carbon_intensity("USA/texas") != carbon_intensity("USA")


@pytest.mark.parametrize("region", ["XXX", "USA/nowhere", "", "germany"])
def test_an_unknown_region_is_refused(region):
    """Carbon is never computed for a place that is not in the tables."""
    with pytest.raises(ValueError, match="is in none of codecarbon's tables"):
        carbon_intensity(region)
