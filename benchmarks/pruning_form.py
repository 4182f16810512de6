"""Whether the error of pruned networks follows the form of Rosenfeld et al. 2021 (arXiv:2006.10621).

Reads the runs of ``experiments/sweeps/pruning.yaml``. For every network: the least density at which the mean test
error is within noise of the dense one's (density 1, trained alike). Noise is two standard errors of the difference
of the means, from the spread of the seeds pooled over a family's networks at densities of at least a half. Then the
form, per network and jointly for a family, against a power law in density, by the root mean square of
log(predicted) - log(measured) over cells: fitted, and with each cell left out in turn.

Usage: python benchmarks/pruning_form.py RESULTS/pruning
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from scaling import fit
from scaling.runs import read_runs

HIGH_DENSITY = 0.5


def cells_of(folder: Path) -> pd.DataFrame:
    """One row per network and density: mean test error over seeds, and the dense network's."""
    runs = read_runs(folder)
    pruned = runs[(runs["technique"] == "magnitude-pruning") & (runs["status"] == "finished")]
    grouped = pruned.groupby(["family", "width", "depth", "density"])["test_error"]
    cells = grouped.agg(test_error="mean", spread="std", n_seeds="count").reset_index()
    dense = cells[cells["density"] == 1].set_index(["family", "width", "depth"])["test_error"]
    keys = pd.MultiIndex.from_frame(cells[["family", "width", "depth"]])
    return cells.assign(dense_error=dense.reindex(keys).to_numpy())


def noise_of(networks: pd.DataFrame) -> float:
    """Two standard errors of the difference between two cells' mean errors."""
    high = networks[networks["density"] >= HIGH_DENSITY]
    return float(2 * np.sqrt((high["spread"] ** 2).mean() * 2 / high["n_seeds"].mean()))


def least_free_density(network: pd.DataFrame, noise: float) -> float:
    """Least density down to which every mean error is within noise of the dense one's, or below it."""
    best = 1.0
    for row in network.sort_values("density", ascending=False).itertuples():
        if row.test_error > row.dense_error + noise:
            break
        best = row.density
    return float(best)


def misses(cells: pd.DataFrame, law: str, *, held_out: bool) -> float:
    """Root mean square log error over cells below full density."""
    cells = cells[cells["density"] < 1].reset_index(drop=True)
    places = range(len(cells))
    errors: list[float] = []
    for place in places if held_out else [None]:
        known = cells if place is None else cells.drop(index=place)
        asked = cells if place is None else cells.loc[[place]]
        found = fit(known, law=law, cost="density")
        errors.extend(np.log(predict(found, asked)) - np.log(asked["test_error"].to_numpy()))
    return float(np.sqrt(np.mean(np.square(errors))))


def predict(found: object, asked: pd.DataFrame) -> np.ndarray:
    """A fit's errors at some cells, from the law's own inputs."""
    from scaling.laws import get_law

    law = get_law(found.law)  # type: ignore[attr-defined]
    columns = [asked["density" if role == "cost" else role].to_numpy(dtype=float) for role in law.roles]
    return np.asarray(found.predict(*columns))  # type: ignore[attr-defined]


def main() -> None:
    """Print one line per network and one per family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    cells = cells_of(parser.parse_args().folder)
    print("| network | dense error | within noise down to | form | rms log error, left out | power law | left out |")
    print("|---|---|---|---|---|---|---|")
    reasons: dict[str, str] = {}
    noises = {family: noise_of(networks) for family, networks in cells.groupby("family")}
    for (family, width, depth), network in cells.groupby(["family", "width", "depth"]):
        form = fit(network[network["density"] < 1], law="pruned")
        numbers = " | ".join(
            f"{misses(network, law, held_out=False):.2f}, {misses(network, law, held_out=True):.2f}"
            for law in ("pruned", "power")
        )
        reasons[form.reason] = f"{family} {width}"
        print(
            f"| {family} {width} x {depth} | {network['dense_error'].iloc[0]:.4f} | "
            f"{least_free_density(network, noises[family]):g} | {form.status.name} | {numbers} |"
        )
    for reason, network_name in reasons.items():
        print(f"{network_name}: {reason}")
    print("noise:", ", ".join(f"{family} {noise:.4f}" for family, noise in noises.items()))
    for family, networks in cells.groupby("family"):
        below = networks[networks["density"] < 1]
        for law in ("pruned", "pruned_family"):
            found = fit(below, law=law)
            print(f"{family}, {law} over all widths: {found.status.name}, {found.reason}")
            print(f"  {found.parameters}")
            print(f"  rms log error {misses(networks, law, held_out=False):.3f}, one cell left out ", end="")
            print(f"{misses(networks, law, held_out=True):.3f}")


if __name__ == "__main__":
    main()
