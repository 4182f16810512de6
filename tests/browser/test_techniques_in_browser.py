"""The report of a sweep of techniques with their comparison: opened, turned, asked, read and printed."""

import json

import numpy as np
import pytest

from scaling import pareto_front, read_runs

WIDTHS = (400, 1000, 1600)


@pytest.fixture
def folder(results):
    """The sweep's folder."""
    return results / "ways"


@pytest.fixture
def report(folder):
    """The report's address."""
    return (folder / "report.html").as_uri()


@pytest.mark.parametrize("width", WIDTHS)
def test_it_opens_fits_its_window_and_axe_finds_no_serious_fault(open_page, report, width):
    """Pictures of the comparison loaded, everything unfolded, nothing said on the console, nobody asked."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = open_page(report, width=width)
    page.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    pictures = page.evaluate("[...document.images].map((one) => [one.alt, one.complete && one.naturalWidth > 0])")

    assert {"Gains of the techniques", "Cost over a lifetime", "The frontier of each technique"} <= dict(
        pictures
    ).keys()
    assert all(loaded for _, loaded in pictures)
    assert page.said == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []


def test_the_gains_on_the_page_are_those_of_comparison_json(open_page, report, folder):
    """Row for row with their ends, and every sentence."""
    page = open_page(report)
    box = page.get_by_role("region", name="Gains", exact=True)
    names = box.locator("th").all_text_contents()
    rows = [
        dict(zip(names, row.locator("td").all_text_contents(), strict=True)) for row in box.locator("tbody tr").all()
    ]
    content = json.loads((folder / "comparison" / "comparison.json").read_text())

    assert len(rows) == len(content["gains"])
    for row, gain in zip(rows, content["gains"], strict=True):
        assert row["technique"] == gain["technique"]
        shown = [float(row[name]) for name in ("gain", "gain_low", "gain_high")]
        assert shown == pytest.approx([gain["gain"][end] for end in ("value", "low", "high")], rel=1e-3)
    for sentence in content["sentences"]:
        assert sentence in page.inner_text("main")


def test_exponents_and_frontier_are_those_of_fits_json(open_page, report, folder):
    """Those of all techniques together, as the answer says."""
    page = open_page(report)
    content = json.loads((folder / "fits.json").read_text())
    written = [[cell["train_flops"], cell["test_error"]] for cell in content["frontier"]]
    power = next(one for one in content["fits"] if one["fit"]["law"] == "power")

    assert np.array(page.evaluate("window.chartState()")["front"]) == pytest.approx(np.array(written))
    k, interval = power["fit"]["exponent"], power["exponent"]
    assert f"to the power {k:.2f} [{interval['low']:.2f}, {interval['high']:.2f}]" in page.inner_text("main")


def test_a_technique_alone_on_another_cost_has_its_own_frontier_and_a_point_says_whose_it_is(open_page, report, folder):
    """Boxes, axes and the mouse together."""
    page, runs = open_page(report), read_runs(folder)
    page.get_by_role("button", name="none").click()
    page.get_by_label("magnitude-pruning").check()
    page.select_option("#chart-cost", "inference_flops")
    own = pareto_front(runs[runs["technique"] == "magnitude-pruning"], "inference_flops")
    shown = page.evaluate("window.chartState()")

    assert np.array(shown["front"]) == pytest.approx(own[["inference_flops", "test_error"]].to_numpy())
    assert shown["drawn"] == 30
    mark = page.locator(".ring").first.bounding_box()
    page.mouse.move(mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2)
    assert page.locator("#chart-details dd[data-column=technique]").inner_text() == "magnitude-pruning"
    assert page.said == []


def test_in_print_the_comparison_is_whole(open_page, report, tmp_path):
    """Controls vanish, tables open up, pictures stay within the sheet."""
    page = open_page(report)
    page.emulate_media(media="print")

    assert not page.locator("#chart-techniques button").first.is_visible()
    assert page.get_by_alt_text("Gains of the techniques").is_visible()
    assert page.evaluate("[...document.images].every((one) => one.clientWidth <= document.body.clientWidth)")
    page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").stat().st_size > 20_000
