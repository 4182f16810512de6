"""The report as its reader has it: no errors, switches that work, numbers that are those of fits.json, accessible."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from experiments.fitting import fit_runs
from scaling import pareto_front, read_runs

WINDOWS = ((400, "light"), (1000, "light"), (1000, "dark"), (1600, "light"))
TECHNIQUES = ("baseline", "distill", "prune <b>")


def table():
    """Three techniques on a grid of width and data with known frontiers; some diverged, some of unknown energy."""
    generator = np.random.default_rng(5)
    rows = []
    for place, technique in enumerate(TECHNIQUES):
        for width in (4, 8, 16, 32):
            for n_train in (100, 1000, 10000):
                for seed in (0, 1, 2):
                    flops = 6.0 * width**2 * 50 * n_train * (1 + place)
                    error = min(0.9, 30 * width**-0.9 * n_train**-0.35) * np.exp(0.04 * generator.normal())
                    rows.append({
                        "trial_id": f"trial-{len(rows):03d}", "cell": f"{technique}-{width}-{n_train}",
                        "technique": technique, "width": width, "n_train": n_train, "seed": seed,
                        "status": "finished", "n_test": 1000, "n_params": width**2 * 50, "train_flops": flops,
                        "inference_flops": 2.0 * width**2 * 50 / (1 + place), "test_error": min(error, 1.0),
                        "energy_joules": flops / 1e8 if place else np.nan,
                        "energy_source": "estimated" if place else "unknown",
                    })  # fmt: skip
    runs = pd.DataFrame(rows)
    runs.loc[:1, ["status", "reason"]] = ["diverged", "the loss became nan"]
    runs.loc[:1, "test_error"] = np.nan
    return runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A fitted folder with its report."""
    place = tmp_path_factory.mktemp("report")
    table().to_csv(place / "runs-of-mine.csv", index=False)
    fit_runs(place / "runs-of-mine.csv", out=place / "out")
    return place / "out"


@pytest.fixture
def report(folder):
    """Its address."""
    return (folder / "report.html").as_uri()


def state(page):
    """What the chart shows."""
    return page.evaluate("window.chartState()")


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
def test_the_page_opens_without_a_complaint_and_fits_its_window(open_page, report, width, scheme):
    """No error on the console, no request to anybody, no sideways scrolling."""
    page = open_page(report, width=width, scheme=scheme)

    assert page.said == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#chart svg").bounding_box()["width"] <= width


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
def test_axe_finds_no_serious_fault(open_page, report, width, scheme):
    """Contrast, names, roles, keyboard reach: with a trial chosen, and everything unfolded."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = open_page(report, width=width, scheme=scheme)
    page.locator("#chart-trial").press("ArrowRight")
    page.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    found = axe.Axe().run(page).response["violations"]

    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []


def test_the_frontier_on_the_page_is_that_of_fits_json(open_page, report, folder):
    """The script finds the cells and their means by itself; the file was written by numpy."""
    content = json.loads((folder / "fits.json").read_text())
    written = [[cell["train_flops"], cell["test_error"]] for cell in content["frontier"]]

    shown = state(open_page(report))["front"]
    assert [len(shown), *np.ravel(shown)] == pytest.approx([len(written), *np.ravel(written)])


def test_the_exponents_on_the_page_are_those_of_fits_json(open_page, report, folder):
    """In the sentences, in the chart and in the table of laws."""
    page = open_page(report)
    quoted = 0
    for one in json.loads((folder / "fits.json").read_text())["fits"]:
        k, interval = one["fit"]["exponent"], one["exponent"]
        if k is None or interval is None:
            assert one["fit"]["reason"] in page.inner_text("main")
            continue
        quoted += 1
        words = f"{k:.2f} [{interval['low']:.2f}, {interval['high']:.2f}]"
        assert f"to the power {words}" in page.inner_text("main")
        assert f"{one['fit']['law']} law, k = {words}" in page.locator(".law-label").all_text_contents()
    assert quoted


def test_switching_the_cost_redraws_the_frontier_of_that_cost(open_page, report, folder):
    """Against inference the techniques trade places; trials of unknown energy are counted, not drawn."""
    page, runs = open_page(report), read_runs(folder)
    page.select_option("#chart-cost", "inference_flops")
    expected = pareto_front(runs, "inference_flops")[["inference_flops", "test_error"]].to_numpy()
    assert np.array(state(page)["front"]) == pytest.approx(expected)
    assert "inference compute per example [FLOP]" in page.locator(".x-title").all_text_contents()
    others = json.loads((folder / "fits.json").read_text())["other_axes"]
    power = next(one for one in others if (one["cost"], one["law"]) == ("inference_flops", "power"))
    words = f"power law, k = {power['value']:.2f} [{power['exponent']['low']:.2f}, {power['exponent']['high']:.2f}]"
    assert words in page.locator(".law-label").all_text_contents()

    page.select_option("#chart-cost", "energy_joules")
    assert state(page)["drawn"] == (runs["energy_joules"].notna() & (runs["status"] == "finished")).sum()
    assert "have no known energy" in page.inner_text("#chart-note")
    assert page.said == []


def test_techniques_are_hidden_and_shown(open_page, report, folder):
    """The frontier is then that of those in view."""
    page, runs = open_page(report), read_runs(folder)
    page.get_by_label("baseline").uncheck()
    rest = runs[(runs["technique"] != "baseline") & (runs["status"] == "finished")]
    assert state(page)["drawn"] == len(rest)
    assert np.array(state(page)["front"]) == pytest.approx(pareto_front(rest)[["train_flops", "test_error"]].to_numpy())

    page.get_by_role("button", name="none").click()
    assert state(page)["drawn"] == 0
    page.get_by_role("button", name="all").click()
    assert state(page)["drawn"] == (runs["status"] == "finished").sum()
    assert page.said == []


def test_a_point_under_the_mouse_says_what_it_is(open_page, report, folder):
    """Pointing shows the trial with its numbers; leaving hides them; a click keeps them."""
    page = open_page(report)
    mark = page.locator(".ring").first.bounding_box()
    page.mouse.move(mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2)
    name = page.locator("#chart-details strong").inner_text().removeprefix("Trial ")
    run = read_runs(folder).set_index("trial_id").loc[name]
    shown = page.locator("#chart-details dd[data-column=test_error]").inner_text()
    assert float(shown.removesuffix("%")) == pytest.approx(100 * run["test_error"], rel=1e-3)
    assert page.locator("#chart-details dd[data-column=technique]").inner_text() == run["technique"]

    page.mouse.move(5, 5)
    assert page.inner_text("#chart-details") == "No trial chosen."
    page.mouse.click(mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2)
    page.mouse.move(5, 5)
    assert name in page.inner_text("#chart-details")


def test_the_keyboard_reaches_every_trial(open_page, report):
    """Tab to the slider, arrows through the trials in order of cost, Escape lets go."""
    page = open_page(report)
    page.locator("#chart-trial").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    second = state(page)["chosen"]
    page.keyboard.press("End")
    assert {second, state(page)["chosen"]} == {1, state(page)["drawn"] - 1}
    assert "of" in page.locator("#chart-trial").get_attribute("aria-valuetext")
    page.keyboard.press("Escape")
    assert state(page)["chosen"] == -1


def test_an_address_can_name_a_trial(open_page, report):
    """So that a run can point back at its place in the report."""
    page = open_page(f"{report}#trial=trial-050")

    assert "Trial trial-050" in page.inner_text("#chart-details")


def test_it_works_in_the_sandbox_in_which_mlflow_shows_artifacts(open_page, folder):
    """Scripts are allowed there, and nothing else: no storage, no popups, no history."""
    frame_holder = folder / "holder.html"
    frame_holder.write_text('<iframe sandbox="allow-scripts" src="report.html" width="900" height="900"></iframe>')
    page = open_page(frame_holder.as_uri())
    page.locator("iframe").wait_for()
    frame = page.frames[-1]
    frame.select_option("#chart-cost", "inference_flops")

    assert frame.evaluate("window.chartState().cost") == "inference_flops"
    assert page.said == []


def test_in_print_nothing_is_cut_off(open_page, report, tmp_path):
    """Controls vanish, boxes that scroll open up, and it becomes a pdf of two figures to a page."""
    page = open_page(report, scheme="dark")
    page.get_by_label("distill").uncheck()
    page.emulate_media(media="print", color_scheme="dark")

    assert not page.locator("#chart-cost").is_visible()
    # The key of the techniques that are drawn stays, on white whatever the screen shows.
    assert [page.locator("label").filter(has_text=name).first.is_visible() for name in ("baseline", "distill")] == [
        1,
        0,
    ]
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    # No heading stands over a table that is folded away.
    assert not page.get_by_role("heading", name="Trials", exact=True).is_visible()
    assert page.get_by_role("heading", name="The frontier", exact=True).is_visible()
    assert page.locator("#chart svg").is_visible()
    assert page.evaluate(
        "[...document.querySelectorAll('.wide')].every((box) => getComputedStyle(box).overflow === 'visible')"
    )
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    content = (tmp_path / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    n_pages = max(int(number) for number in re.findall(rb"/Count (\d+)", content))
    assert n_pages <= page.locator("figure").count() / 2 + 6


def test_a_name_from_a_table_is_text_everywhere(open_page, report):
    """In the list of techniques, in the details, in the tables."""
    page = open_page(report)

    assert page.locator("#chart-techniques b").count() == 0
    assert page.get_by_label("prune <b>").count() == 1
