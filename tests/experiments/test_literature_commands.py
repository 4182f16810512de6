"""The commands literature, project and theory: what they print, and what they refuse."""

import importlib.util
import json

import numpy as np
import pandas as pd
import pytest

from experiments.torchvision_results import family_year
from scaling import draw_runs


@pytest.fixture
def runs(tmp_path):
    """A runs table of a known surface, with its compute."""
    size, data = (v.ravel() for v in np.meshgrid(10.0 ** np.arange(2, 7), 10.0 ** np.arange(2, 7)))
    truth = {"E": 0.02, "A": 2.0, "alpha": 0.5, "B": 3.0, "beta": 0.5}
    table = draw_runs("size_and_data", truth, {"size": size, "data": data}, seed_noise=0.02, seed=1)
    table["train_flops"] = 6.0 * table["n_params"].astype(float) * table["n_train"].astype(float)
    path = tmp_path / "mine.csv"
    table.to_csv(path, index=False)
    return path


CSV = {
    "benchmark": "b",
    "model": [f"m{i}" for i in range(8)],
    "year": range(2012, 2020),
    "error": [0.4, 0.35, 0.33, 0.28, 0.25, 0.2, 0.19, 0.15],
    "hardware_burden_flop": [10.0**i for i in range(12, 20)],
}


def test_as_published_says_both_ninth_powers(ninthpower):
    """9.35 as published, 10.9 in one unit, and the rounding."""
    done = ninthpower("literature", "--as-published")

    assert done.returncode == 0, done.stderr
    for words in ("9.35", "10.9", "0.0733", "0.0244", "-19.8046", "1/0.11 = 9.1"):
        assert words in done.stdout


def test_rows_are_listed_with_their_papers(ninthpower):
    """All 211."""
    found = json.loads(ninthpower("literature", "--rows", "--json").stdout)["tables"]["211 results"]

    assert all(row["paper"] for row in found)
    assert "Squeeze-and-Excitation" in {row["paper"].split(" ")[0] for row in found}


def test_as_published_for_machines(ninthpower):
    """The same numbers unrounded."""
    found = json.loads(ninthpower("literature", "--as-published", "--json").stdout)

    assert found["per_pass_as_printed"]["exponent"] == pytest.approx(9.35, abs=0.005)
    assert len(found["burden"]) == 12


def test_beyond_the_published_methods(ninthpower):
    """Each method has its row, and infinities are null."""
    done = ninthpower("literature", "--benchmark", "ImageNet", "--json")
    rows = json.loads(done.stdout)["tables"]["ImageNet: exponent of computation (burden)"]
    methods = " ".join(row["method"] for row in rows)

    for words in ("Student", "power", "saturating", "exponential", "paper", "leaving one", "both variables", "frontier",
                  "irreducible", "year held"):  # fmt: skip
        assert words in methods
    assert "later results" in done.stdout


def test_own_csv_and_own_runs_stand_beside(ninthpower, tmp_path, runs):
    """A user's table of results, and the exponent of a user's sweep."""
    pd.DataFrame(CSV).to_csv(tmp_path / "published.csv", index=False)
    done = ninthpower("literature", "published.csv", "--runs", runs, "--law", "power", "--json")

    assert done.returncode == 0, done.stderr
    tables = json.loads(done.stdout)["tables"]
    assert tables["your runs, exponent of their frontier"][0]["exponent"] > 1
    assert "b: exponent of computation (burden)" in tables


def test_torchvision_is_a_second_source(ninthpower):
    """Its metadata, dated by family, in multiply-adds."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    done = ninthpower("literature", "torchvision", "--law", "power", "--json")

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["n_results"] > 80
    assert found["measure"] == "per-pass"
    assert (family_year("swin_v2_t"), family_year("swin_t"), family_year("wide_resnet50_2")) == (2021, 2021, 2016)


def test_a_year_that_says_the_same_as_computation_is_left_out(ninthpower, tmp_path):
    """Neither can be told from the other; the rest is still answered."""
    pd.DataFrame(CSV).to_csv(tmp_path / "published.csv", index=False)
    rows = json.loads(ninthpower("literature", "published.csv", "--json").stdout)["tables"]
    methods = [row["method"] for row in rows["b: exponent of computation (burden)"]]

    assert "least squares, Student's interval" in methods
    assert "computation with the year held" not in methods


def test_figures_are_drawn_with_their_numbers(ninthpower, tmp_path):
    """Each as png, svg and csv."""
    pd.DataFrame(CSV).to_csv(tmp_path / "published.csv", index=False)
    done = ninthpower("literature", "published.csv", "--law", "power", "--figures", "drawn", "--json")

    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == [
        f"{name}.{ending}" for name in ("figure_2_history", "figure_3_burden") for ending in ("csv", "png", "svg")
    ]


def test_projections_as_published(ninthpower):
    """The table of the study."""
    found = json.loads(ninthpower("project", "--as-published", "--json").stdout)

    assert len(found["projections"]) == 30
    assert "120.1" in ninthpower("project", "--as-published").stdout


def test_history_splits_the_growth(ninthpower):
    """1,095.5 = 6.025 x 250 x 0.727."""
    done = ninthpower("project", "--history")

    assert "1,095.5 times" in done.stdout
    assert "6.025 (faster chips) x 250 (more chips) x 0.727" in done.stdout.replace("\n", "")


def test_published_points_give_no_number_for_five_per_cent(ninthpower):
    """Marked as uninformative, without a bill."""
    found = json.loads(ninthpower("project", "--target", "0.05", "--json").stdout)

    assert found["projections"][0]["status"] == "uninformative"
    assert found["projections"][0]["log10_cost"] is None
    assert "what it takes, with intervals" not in found["tables"]


def test_own_runs_are_billed_with_intervals(ninthpower, runs):
    """A target within reach of the frontier, in device-hours, energy, carbon, money and years."""
    done = ninthpower(
        "project", runs, "--law", "saturating", "--target", "0.06", "--device", "H100", "--region", "Germany", "--year",
        "2030", "--grid-trend", "own", "--growth", "4", "--json",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["projections"][0]["status"] == "informative"
    (bill,) = found["tables"]["what it takes, with intervals"]
    assert set(bill) == {
        "error", "device time, device-hours", "energy, kWh", "carbon, g CO2", "money, USD", "years at 4 times a year",
    }  # fmt: skip
    assert "grid falls 1.5% a year" in found["basis"]


def test_a_surface_is_projected_at_its_optimal_split(ninthpower, runs):
    """With the FLOP per parameter and example, and refused without."""
    good = ninthpower(
        "project", runs, "--law", "size_and_data", "--target", "0.05", "--flops-per-param-example", "6", "--json"
    )
    bad = ninthpower("project", runs, "--law", "size_and_data", "--target", "0.05")

    assert json.loads(good.stdout)["projections"][0]["status"] == "informative"
    assert "give flops_per_param_example" in bad.stderr


def test_theory_names_the_observations(ninthpower):
    """A few simulations of a small task."""
    done = ninthpower(
        "theory", "--simulations", "5", "--features", "100", "--relevant", "5", "--coefficients", "normal", "--json"
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["observations_needed"]["oracle"] == 15
    assert found["task"]["n_features"] == 100
    (rows,) = found["tables"].values()
    assert {row["published"] for row in rows} == {"–"}


def test_theory_of_a_sweep_stands_beside_four_and_nine(ninthpower, runs):
    """The truth of the runs is 4."""
    found = json.loads(ninthpower("theory", runs, "--json").stdout)["size_and_data"]

    low, high = (found["intervals"]["balanced"][end] for end in ("low", "high"))
    assert low < 4 < high < 9
    assert (found["theory"], found["published"]) == (4, 9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["literature", "nowhere.csv"], "there is no file nowhere.csv"),
        (["literature", "wikipedia"], "the source is 'wikipedia', but it is one of published, torchvision"),
        (["literature", "--benchmark", "MNIST"], "no result of 'MNIST' has the measure 'burden'; benchmarks that have"),
        (["literature", "--law", "powr"], "there is no law 'powr'; did you mean 'power'?"),
        (["literature", "--as-published", "--benchmark", "ImageNet"], "--as-published takes the study's own"),
        (["literature", "wrong.csv"], "wrong.csv: row 2: error is 1.3, but it is a fraction"),
        (["project", "--device", "abacus"], "there is no device 'abacus'"),
        (["project", "--region", "Mars"], "there is no region 'Mars'"),
        (["project", "--target", "0"], "the error target is 0.0"),
        (["project", "--growth", "0.5", "--level", "0.5", "--target", "0.115"], "growth_per_year is 0.5"),
        (["project", "--grid-trend", "own", "--year", "2030"], "one date for World"),
        (["project", "--grid-trend", "much"], "the grid trend is 'much'"),
        (["project", "--price-halving", "2"], "no year is given"),
        (["project", "--as-published", "--target", "0.1"], "--as-published and --history stand alone"),
        (["project", "wrong.csv", "--cost", "wall_seconds"], "the cost 'wall_seconds' is in s, but"),
        (["theory", "--noise", "-1", "--simulations", "2"], "noise is -1.0"),
        (["theory", "--penalty", "0", "--simulations", "2"], "penalty is 0.0"),
    ],
)
def test_a_person_who_errs_is_told_in_one_sentence(ninthpower, tmp_path, arguments, message):
    """Exit code 2, the value, and what is allowed."""
    wrong = pd.DataFrame(CSV)
    wrong.loc[1, "error"] = 1.3
    wrong.to_csv(tmp_path / "wrong.csv", index=False)
    done = ninthpower(*arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
