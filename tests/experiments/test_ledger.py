"""The ledger: each phase under its own name, and sums that add up."""

import time

import pytest

from experiments.energy import EnergyReading
from experiments.ledger import Ledger, Phase
from scaling.columns import column


class Account:
    """Joules that rise by what the test says."""

    joules = 0.0

    def read(self):
        return EnergyReading({"cpu": self.joules}, {"cpu": "measured"})


class NoAccount:
    """A node without a meter."""

    def read(self):
        return EnergyReading({}, {}, "no meter here")


def test_phases_add_up():
    """FLOP, joules and seconds stand once, under the phase that spent them."""
    account = Account()
    ledger = Ledger(account)
    with ledger.phase("teacher") as phase:
        phase.flops += 100
        account.joules += 5
    account.joules += 1000  # between the phases: nobody's
    with ledger.phase("train") as phase:
        phase.flops += 30
        account.joules += 2
        time.sleep(0.02)

    flops = {name: value for name, value in ledger.columns().items() if name.startswith("train_flops")}
    assert flops == {"train_flops": 130, "train_flops_teacher": 100, "train_flops_train": 30}
    assert [phase["energy_joules"] for phase in ledger.to_list()] == [5, 2]
    assert ledger.phases[1].wall_seconds >= 0.02
    assert ledger.wall_seconds == ledger.phases[0].wall_seconds + ledger.phases[1].wall_seconds


def test_a_phase_entered_again_goes_on():
    """One row per name, with the sum of both."""
    account = Account()
    ledger = Ledger(account)
    for _ in range(2):
        with ledger.phase("train") as phase:
            phase.flops += 10
            account.joules += 3

    assert [(phase.phase, phase.flops, phase.energy_joules) for phase in ledger.phases] == [("train", 20, 6)]


def test_what_was_spent_before_a_crash_is_kept():
    """The exception goes on, the account stays."""
    account = Account()
    ledger = Ledger(account)

    def crash():
        with ledger.phase("train") as phase:
            phase.flops += 10
            account.joules += 3
            raise RuntimeError

    with pytest.raises(RuntimeError):
        crash()

    assert ledger.total_flops == 10
    assert ledger.phases[0].energy_joules == 3


def test_unknown_energy_stays_unknown():
    """None, never 0."""
    ledger = Ledger(NoAccount())
    with ledger.phase("train"):
        pass

    assert ledger.to_list()[0]["energy_joules"] is None


def test_peak_memory_is_that_of_the_phase():
    """100 MiB taken in one phase show there, and not in the next."""
    ledger = Ledger(NoAccount())
    with ledger.phase("small"):
        pass
    with ledger.phase("large"):
        block = bytearray(100 * 2**20)
    del block
    with ledger.phase("after"):
        pass
    small, large, after = (phase.peak_memory_bytes for phase in ledger.phases)

    assert large - small > 90 * 2**20
    assert large - after > 50 * 2**20


def test_peak_memory_is_in_the_table_by_phase_and_the_largest_of_them_as_the_trial_s():
    """What another trial needed for its teacher is charged like its FLOP; memory is not summed."""
    ledger = Ledger(NoAccount())
    parts = [Phase("train", peak_memory_bytes=700), Phase("validate", peak_memory_bytes=2**40), Phase("look")]
    ledger.charge("teacher", parts, elsewhere=True)
    with ledger.phase("train"):
        pass
    columns = ledger.columns()

    assert columns["peak_memory_bytes_teacher"] == columns["peak_memory_bytes"] == 2**40
    assert 0 < columns["peak_memory_bytes_train"] < 2**40
    assert column("peak_memory_bytes_teacher").unit == column("peak_memory_bytes").unit == "B"


def test_peak_memory_that_is_not_known_is_empty():
    """None, never 0."""
    ledger = Ledger(NoAccount())
    ledger.charge("teacher", [Phase("train", wall_seconds=1.0)], elsewhere=True)

    assert ledger.columns()["peak_memory_bytes_teacher"] is None
    assert ledger.columns()["peak_memory_bytes"] is None


@pytest.mark.parametrize("name", ["", "Train", "a b", "a_b", "../x"])
def test_a_phase_that_could_not_be_a_column_is_refused(name):
    """Phases become column names."""
    with pytest.raises(ValueError, match="is not of lower-case letters"), Ledger(NoAccount()).phase(name):
        pass


def test_what_no_phase_took_is_a_phase_of_its_own():
    """Once closed, the phases sum to the trial's own clock and meter."""
    account = Account()
    ledger = Ledger(account)
    with ledger.phase("train"):
        account.joules += 5
    ledger.close(wall_seconds=100.0, energy_joules=12.0)

    assert ledger.wall_seconds == pytest.approx(100)
    assert ledger.energy_joules == pytest.approx(12)
    assert ledger.phases[-1].energy_joules == pytest.approx(7)


def test_what_another_trial_spent_is_charged_beside_the_own_clock():
    """A teacher made elsewhere adds to the totals and takes nothing from the trial's own rest."""
    account = Account()
    ledger = Ledger(account)
    ledger.charge("teacher", [Phase("train", flops=7, wall_seconds=50.0, energy_joules=3.0)], elsewhere=True)
    with ledger.phase("train") as phase:
        phase.flops += 1
        account.joules += 1
    ledger.close(wall_seconds=10.0, energy_joules=4.0)
    columns = ledger.columns()

    assert (columns["train_flops"], columns["train_flops_teacher"]) == (8, 7)
    assert columns["wall_seconds"] == pytest.approx(60)
    assert columns["energy_joules"] == pytest.approx(7)


def test_sparse_work_is_counted_beside_the_dense_never_in_it():
    """Phases without zeros count in full on both machines; a ledger without any has no sparse total."""
    ledger = Ledger(Account())
    with ledger.phase("train") as phase:
        phase.flops += 100
    assert ledger.columns()["sparse_train_flops"] is None
    with ledger.phase("prune-finetune") as phase:
        phase.flops += 50
        phase.sparse_flops = 10
    columns = ledger.columns()

    assert (columns["train_flops"], columns["sparse_train_flops"]) == (150, 110)


def test_energy_that_is_not_known_makes_no_smaller_total():
    """A phase without joules leaves the total empty."""
    ledger = Ledger(Account())
    ledger.charge("teacher", [Phase("train", wall_seconds=1.0)], elsewhere=True)
    ledger.close(wall_seconds=1.0, energy_joules=2.0)

    assert ledger.columns()["energy_joules"] is None


def test_energy_that_is_not_known_of_a_part_makes_no_smaller_phase():
    """Neither where several are charged under one name, nor where a phase goes on without a meter."""
    ledger = Ledger(Account())
    parts = [Phase("train", wall_seconds=1.0, energy_joules=5.0), Phase("validate", wall_seconds=1.0)]
    ledger.charge("search", parts, elsewhere=True)
    ledger.charge("teacher", parts[::-1], elsewhere=True)
    with ledger.phase("train"):
        time.sleep(0.01)
    ledger.account = NoAccount()
    with ledger.phase("train"):
        time.sleep(0.01)

    assert [phase.energy_joules for phase in ledger.phases] == [None, None, None]
