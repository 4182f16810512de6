"""The tables of docs/techniques that come from single trials on digits: means over seeds, paired by them.

    python benchmarks/technique_tables.py structured-pruning|complexity-penalty|quantization|low-precision|
        expert-features|architecture-search [--seeds 3]

Depth 1, rate 0.01, all else at its default; nothing is tuned. Latencies and seconds are those of the machine.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from experiments.machine import Machine
from experiments.spec import TrialSpec
from experiments.trial import Record, run_trial

FAMILIES = ("mlp", "resnet", "convnext", "vit", "mixer")
RATES = (1.0, 0.3, 0.1)
SECONDS_TO_MICRO = 1e6

Row = tuple[str, ...]
# Technique, its options, and what else differs from the table's settings.
Line = tuple[str, dict[str, Any], dict[str, Any]]


def run(line: Line, seeds: range, settings: Mapping[str, Any]) -> list[Record]:
    """The trials of one line, one per seed."""
    technique, options, changes = line
    fields = {"dataset": "digits", "depth": 1, "learning_rate": 0.01, **settings, **changes}
    specs = [TrialSpec(**fields, seed=seed, technique=technique, technique_options=options) for seed in seeds]
    records = [run_trial(spec, Machine(device="cpu")) for spec in specs]
    for record in records:
        assert record["status"] == "finished", record["reason"]
    return records


def mean(records: list[Record], column: str) -> float:
    """Mean over the seeds of a column of their rows."""
    return float(np.mean([record["row"][column] for record in records]))


def errors(records: list[Record]) -> Row:
    """Test and validation error."""
    return f"{mean(records, 'test_error'):.3f}", f"{mean(records, 'validation_error'):.3f}"


def micros(records: list[Record]) -> str:
    """Least and most latency over the seeds [us]: other work on the machine is in them."""
    values = [SECONDS_TO_MICRO * record["row"]["inference_seconds"] for record in records]
    return f"{min(values):.3g} to {max(values):.3g}"


def structured_pruning(seeds: range) -> Iterator[Row]:
    """Pruned perceptrons and ConvNeXts."""
    yield "network", "keep", "test error", "validation error", "parameters", "inference FLOP", "training FLOP"
    keeps = {("mlp", 32): (0.75, 0.5, 0.25), ("convnext", 4): (0.75, 0.5)}
    for (family, width), shares in keeps.items():
        lines: dict[str, Line] = {"baseline": ("baseline", {}, {})}
        for keep in shares:
            lines[f"{keep}"] = ("structured-pruning", {"keep": keep}, {})
        lines["0.5, taylor"] = ("structured-pruning", {"keep": 0.5, "importance": "taylor"}, {})
        for name, line in lines.items():
            found = run(line, seeds, {"family": family, "width": width, "n_train": 1100, "epochs": 15})
            costs = mean(found, "n_params"), mean(found, "inference_flops"), mean(found, "train_flops")
            yield f"{family} {width}", name, *errors(found), f"{costs[0]:,.0f}", f"{costs[1]:,.0f}", f"{costs[2]:.3g}"


def complexity_penalty(seeds: range) -> Iterator[Row]:
    """What survives a penalty, by its strength."""
    yield "network", "penalty", "strength", "survived", "test error", "validation error", "parameters", "inference FLOP"
    for family, width in (("mlp", 32), ("convnext", 4)):
        lines: list[Line] = [("baseline", {}, {})]
        for penalty, strength in itertools.product(("l1", "group-lasso"), (0.5, 1.0, 2.0, 3.0)):
            lines.append(("complexity-penalty", {"penalty": penalty, "strength": strength}, {}))
        for line in lines:
            penalty = line[1].get("penalty", "none")
            found = run(line, seeds, {"family": family, "width": width, "n_train": 1100, "epochs": 15})
            share = {"l1": "found_density", "group-lasso": "found_keep"}.get(penalty)
            flops = mean(found, "sparse_inference_flops" if penalty == "l1" else "inference_flops")
            survived = "" if share is None else f"{mean(found, share):.2f}"
            strength = f"{line[1]['strength']:g}" if share else ""
            counts = f"{mean(found, 'n_params'):,.0f}", f"{flops:,.0f}"
            yield f"{family} {width}", penalty, strength, survived, *errors(found), *counts


def quantization(seeds: range) -> Iterator[Row]:
    """Eight bits after training, and with their rounding in the loop."""
    aware = [f"aware, rate {rate:g}" for rate in RATES]
    kinds = ["fp32", "after", *aware]
    yield "family", *kinds, "bytes fp32 / int8", "us per example fp32", "us per example int8"
    for family in FAMILIES:
        lines: list[Line] = [("baseline", {}, {}), ("quantization", {"mode": "after"}, {})]
        lines += [("quantization", {"mode": "aware", "aware_rate": rate}, {}) for rate in RATES]
        found = [run(line, seeds, {"family": family, "width": 16, "n_train": 300, "epochs": 6}) for line in lines]
        texts = [f"{mean(one, 'test_error'):.3f} ({mean(one, 'validation_error'):.3f})" for one in found]
        size = " / ".join(f"{mean(one, 'model_bytes'):,.0f}" for one in found[:2])
        yield family, *texts, size, micros(found[0]), micros(found[1])


def low_precision(seeds: range) -> Iterator[Row]:
    """The baseline in fp32 and in bf16."""
    yield "family", "test error fp32", "bf16", "us per example fp32", "bf16"
    for family in ("mlp", "resnet", "convnext"):
        settings = {"family": family, "width": 16, "n_train": 300, "epochs": 6}
        full, short = (run((name, {}, {}), seeds, settings) for name in ("baseline", "low-precision"))
        yield family, *(f"{mean(one, 'test_error'):.3f}" for one in (full, short)), micros(full), micros(short)


def expert_features(seeds: range) -> Iterator[Row]:
    """Both kinds of features by the number of examples."""
    yield "n_train", "oriented gradients", "scattering", "under shift", "training FLOP"
    for n_train in (100, 300, 1000):
        settings = {"family": "resnet", "width": 4, "n_train": n_train, "epochs": 20}
        found = [
            run(("expert-features", {"features": kind}, {}), seeds, settings)
            for kind in ("oriented-gradients", "scattering")
        ]
        shifted = " / ".join(f"{mean(one, 'shift_error'):.2f}" for one in found)
        flops = " / ".join(f"{mean(one, 'train_flops'):.2g}" for one in found)
        yield f"{n_train}", *(f"{mean(one, 'test_error'):.4f}" for one in found), shifted, flops


def architecture_search(seeds: range) -> Iterator[Row]:
    """What a search finds under the FLOP of a model, beside that model."""
    yield "own model", "found", "test error own / found", "search over final training"
    for family, width in (("mlp", 32), ("resnet", 4), ("convnext", 4)):
        settings = {"family": family, "width": width, "n_train": 300, "epochs": 8}
        for seed in seeds:
            own, searched = (
                run((name, {}, {}), range(seed, seed + 1), settings) for name in ("baseline", "architecture-search")
            )
            row = searched[0]["row"]
            found = f"{row['found_family']} {row['found_width']} x {row['found_depth']}"
            ratio = row["train_flops_search"] / row["train_flops_train"]
            error = f"{mean(own, 'test_error'):.3f} / {row['test_error']:.3f}"
            yield f"{family} {width} x 1, seed {seed}", found, error, f"{ratio:.1f}"


TABLES = {
    "structured-pruning": structured_pruning,
    "complexity-penalty": complexity_penalty,
    "quantization": quantization,
    "low-precision": low_precision,
    "expert-features": expert_features,
    "architecture-search": architecture_search,
}


def main() -> None:
    """Print one table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    began = time.perf_counter()
    for number, row in enumerate(TABLES[given.table](range(given.seeds))):
        print(f"| {' | '.join(row)} |", flush=True)
        if number == 0:
            print("|---" * len(row) + "|", flush=True)
    print(f"\n{given.seeds} seeds, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
