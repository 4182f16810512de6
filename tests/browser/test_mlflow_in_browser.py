"""The MLflow UI on a sweep's results as its user has it: its runs, and the report among its artifacts."""

import json
import re
import urllib.request

import pytest


@pytest.mark.slow
def test_the_address_that_is_printed_shows_every_run(open_page, served):
    """In MLflow's view of training runs, with the sweep's description."""
    page = open_page(served["tiny"])
    page.get_by_text("25 matching runs").wait_for(timeout=60_000)

    page.get_by_text("A small sweep.").first.wait_for(timeout=60_000)
    page.get_by_text("baseline-mlp-w", exact=False).nth(10).wait_for(state="attached", timeout=60_000)


@pytest.mark.slow
def test_the_charts_that_it_opens_on_show_the_error_against_every_cost_in_the_colours_of_the_techniques(
    open_page, served
):
    """Without a click: all trials, one colour for each technique, black for the baseline; the list has our columns."""
    page = open_page(served["ways"], width=1600)
    page.get_by_text("test error against every cost").wait_for(timeout=60_000)
    page.locator(".js-plotly-plot .point").nth(89).wait_for(state="attached", timeout=60_000)
    colours = page.evaluate(
        "[...document.querySelector('.js-plotly-plot').querySelectorAll('.point')]"
        ".map((one) => getComputedStyle(one).fill)"
    )

    assert {"rgb(0, 0, 0)", "rgb(0, 114, 178)", "rgb(213, 94, 0)"} <= set(colours)
    assert page.get_by_text("log10/inference_flops").count()
    # The grid makes no column that is out of sight.
    page = open_page(served["ways"].replace("compareRunsMode=CHART", "compareRunsMode=TABLE"), width=2400)
    for column in ("technique", "width", "test_error", "train_flops"):
        page.get_by_role("columnheader", name=column).first.wait_for(timeout=60_000)


@pytest.mark.slow
def test_the_report_among_the_artifacts_works_and_its_points_lead_to_their_runs(open_page, served, results):
    """Inside MLflow's frame the chart turns; from disk, the link of a point opens the run of that trial."""
    page = open_page(served["tiny"])
    name = page.locator("a[href*='/runs/']").filter(has_text=re.compile("^tiny$")).first
    name.wait_for(timeout=60_000)
    address = name.get_attribute("href")
    page.goto(f"{served['base']}/{address[address.index('#') :]}/artifacts/report.html")
    # A frame is there before the report is in it.
    frame = page.frame_locator("iframe").first.locator("#chart svg").first.element_handle(timeout=60_000).owner_frame()
    frame.select_option("#chart-cost", "energy_joules")
    assert frame.evaluate("window.chartState().cost") == "energy_joules"
    assert frame.evaluate("window.chartState().drawn") == 24

    report = open_page((results / "tiny" / "report.html").as_uri())
    report.locator("#chart-trial").press("End")
    trial = report.inner_text("#chart-details strong").removeprefix("Trial ")
    link = report.locator("#chart-details a").get_attribute("href")
    run = open_page(link.replace("http://127.0.0.1:5000", served["base"]))
    run.get_by_text(trial).first.wait_for(timeout=60_000)


@pytest.mark.slow
def test_techniques_are_told_apart_and_nobody_else_is_asked(open_page, served):
    """A search by the tag leaves the runs of one technique; every request stays on this machine."""
    page = open_page(served["ways"])
    page.get_by_text("91 matching runs").wait_for(timeout=60_000)
    search = page.locator("input[placeholder*='metrics.rmse']")
    search.fill("tags.technique = 'distillation'")
    search.press("Enter")
    page.get_by_text("30 matching runs").wait_for(timeout=60_000)

    asked = [said for said in page.said if said.startswith("http")]
    assert asked
    assert [address for address in asked if not address.startswith(served["base"])] == []


@pytest.mark.slow
def test_a_comparison_is_a_row_for_each_technique_with_its_gains(open_page, served, results):
    """In an experiment of its own; the page of a run shows the numbers of comparison.json."""
    with urllib.request.urlopen(
        f"{served['base']}/api/2.0/mlflow/experiments/get-by-name?experiment_name=ways-comparison"
    ) as answer:
        number = json.load(answer)["experiment"]["experiment_id"]
    page = open_page(f"{served['base']}/#/experiments/{number}/runs?workflowType=machine_learning")
    page.get_by_text("2 matching runs").wait_for(timeout=60_000)
    for technique in ("distillation", "magnitude-pruning"):
        assert page.get_by_role("link", name=technique).count()
    page.get_by_role("link", name="magnitude-pruning").first.click()
    page.get_by_text("verdict_inference_flops").first.wait_for(timeout=60_000)

    gains = json.loads((results / "ways" / "comparison" / "comparison.json").read_text())["gains"]
    gain = next(one for one in gains if (one["technique"], one["cost"]) == ("magnitude-pruning", "train_flops"))
    assert f"{gain['gain']['value']:.6f}"[:6] in page.inner_text("body")
