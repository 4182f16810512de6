"""What holds for every technique that ships: its phases, its account, and what its page says of them."""

import json
import re
from pathlib import Path

import pytest

from experiments.ledger import REST
from experiments.techniques import TECHNIQUES, find_technique, low_precision
from experiments.trial import run_trial
from scaling.runs import from_rows

PAGES = Path(__file__).parents[3] / "docs" / "techniques"
# Entered where passes choose something, by whatever technique.
CHOOSING = "validate"


@pytest.fixture(autouse=True)
def _bf16(monkeypatch):
    """Let a processor without bf16 arithmetic emulate it."""
    monkeypatch.setattr(low_precision, "processor_flags", lambda: low_precision.PROCESSOR_FLAGS)


@pytest.mark.parametrize("name", TECHNIQUES)
def test_every_phase_enters_flops_joules_seconds_and_memory_and_they_sum_to_the_totals(
    name, brief_trial, shared_machine
):
    """The phases are those that the technique names; nothing stands twice, nothing is left out."""
    record = run_trial(brief_trial(name, epochs=2, seed=51), shared_machine)
    phases = {phase["phase"]: phase for phase in record["phases"]}
    row = record["row"]

    assert record["status"] == "finished", record["reason"]
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert list(phases) == [*find_technique(name).phases, REST]
    for total, part in (("train_flops", "flops"), ("wall_seconds", "wall_seconds"), ("energy_joules", "energy_joules")):
        assert sum(phase[part] for phase in phases.values()) == pytest.approx(row[total])
    for phase in find_technique(name).phases:
        assert row[f"train_flops_{phase}"] == phases[phase]["flops"]
        assert row[f"peak_memory_bytes_{phase}"] == phases[phase]["peak_memory_bytes"] > 0
    assert row["peak_memory_bytes"] == max(row[f"peak_memory_bytes_{phase}"] for phase in find_technique(name).phases)
    assert from_rows([row])["inference_seconds"].iloc[0] > 0


@pytest.mark.parametrize("name", TECHNIQUES)
def test_choosing_the_best_pass_adds_its_looks_and_nothing_else(name, brief_trial, shared_machine):
    """Validation passes that choose are a phase of their own; what they choose from is as dear as before."""
    last, best = (
        run_trial(brief_trial(name, epochs=2, seed=51, selection=selection), shared_machine)
        for selection in ("last", "best")
    )
    looks = best["row"][f"train_flops_{CHOOSING}"]

    assert best["status"] == "finished", best["reason"]
    assert looks > 0
    assert best["row"]["train_flops"] == pytest.approx(
        looks + sum(best["row"][f"train_flops_{phase}"] for phase in find_technique(name).phases)
    )
    assert best["row"][f"train_flops_{find_technique(name).phases[-1]}"] == pytest.approx(
        last["row"][f"train_flops_{find_technique(name).phases[-1]}"]
    )


def test_the_overview_names_every_technique_with_its_phases():
    """The table of docs/techniques is that of the code, and every technique but the baseline has a page."""
    rows = re.findall(r"^\| \[?`([a-z-]+)`.*\| ([a-z, -]+) \|$", (PAGES / "README.md").read_text("utf-8"), re.MULTILINE)

    assert {name: tuple(phases.split(", ")) for name, phases in rows} == {
        name: find_technique(name).phases for name in TECHNIQUES
    }
    assert all((PAGES / f"{name}.md").is_file() for name in TECHNIQUES if name != "baseline")
