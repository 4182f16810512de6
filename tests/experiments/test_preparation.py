"""What several trials need is made once per node and charged to each."""

import random

import pytest
import torch

from experiments.energy import EnergyReading
from experiments.ledger import Ledger
from experiments.preparation import prepare_once


class Account:
    """Joules that rise by what the test says."""

    joules = 0.0

    def read(self):
        return EnergyReading({"cpu": self.joules}, {"cpu": "measured"})


class Teacher:
    """A teacher of three weights; counts how often it was made."""

    def __init__(self):
        self.made = 0

    def __call__(self, ledger):
        self.made += 1
        with ledger.phase("train") as phase:
            phase.flops += 1000
            ledger.account.joules += 3
        return {"layer.weight": torch.rand(3), "steps": torch.tensor(7)}


def test_it_is_made_once_and_its_cost_comes_along(tmp_path):
    """The second trial gets the same tensors and the same phases, and is told that it did not spend them."""
    teacher, account = Teacher(), Account()
    first, spent, made = prepare_once(tmp_path, {"width": 8}, Ledger(account), teacher)
    again, spent_again, made_again = prepare_once(tmp_path, {"width": 8}, Ledger(account), teacher)

    assert (teacher.made, made, made_again) == (1, True, False)
    assert torch.equal(first["layer.weight"], again["layer.weight"])
    assert int(again["steps"]) == 7
    assert spent == spent_again
    assert (spent[0].flops, spent[0].energy_joules) == (1000, pytest.approx(3))


def test_something_else_is_made_anew(tmp_path):
    """What the result depends on is its name."""
    teacher = Teacher()
    for width in (8, 16):
        prepare_once(tmp_path, {"width": width}, Ledger(Account()), teacher)

    assert teacher.made == 2


def test_a_trial_goes_on_alike_whether_or_not_it_made_it(tmp_path):
    """Making draws random numbers; the trial's own sequence does not shift."""
    draws = []
    for _ in range(2):
        torch.manual_seed(0)
        random.seed(0)
        prepare_once(tmp_path, {"width": 8}, Ledger(Account()), Teacher())
        draws.append((torch.rand(1).item(), random.random()))

    assert draws[0] == draws[1]
