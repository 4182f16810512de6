"""The study's table of projections: every printed number, typed here."""

import pytest

from scaling.literature import published_results
from scaling.literature.projections import FLOP_PER_USD, pairs_bootstrap, published_projections
from scaling.literature.regression import log_axes, rows_of

# benchmark: for each target the log10 of GFLOP, lb CO2 and USD, by the polynomial and by the exponential form.
PUBLISHED = {
    ("ImageNet", 0.115): ("14.1 5.6 6.3", "14.8 6.3 7.0"),
    ("ImageNet", 0.05): ("19.1 10.5 11.2", "27.9 19.3 20.0"),
    ("ImageNet", 0.01): ("28.6 20.0 20.7", "120.1 111.6 112.3"),
    ("MS COCO", 0.467): ("14.6 6.0 6.7", "15.3 6.8 7.5"),
    ("MS COCO", 0.30): ("23.1 14.5 15.3", "29.3 20.8 21.5"),
    ("MS COCO", 0.10): ("44.2 35.7 36.4", "107.6 99.1 99.8"),
    ("SQuAD 1.1", 0.04621): ("13.1 4.5 5.2", "13.9 5.3 6.0"),
    ("SQuAD 1.1", 0.02): ("15.9 7.4 8.1", "23.4 14.8 15.5"),
    ("SQuAD 1.1", 0.01): ("18.2 9.7 10.4", "40.1 31.6 32.3"),
    ("CoNLL 2003", 0.065): ("13.2 4.7 5.4", "13.5 4.9 5.6"),
    ("CoNLL 2003", 0.02): ("43.7 35.2 35.9", "82.1 73.5 74.2"),
    ("CoNLL 2003", 0.01): ("61.6 53.1 53.8", "181.2 172.7 173.4"),
    ("WMT14 EN-FR", 0.544): ("12.5 3.9 4.6", "12.7 4.1 4.8"),
    ("WMT14 EN-FR", 0.30): ("23.4 14.8 15.6", "30.1 21.6 22.3"),
    ("WMT14 EN-FR", 0.10): ("43.5 35.0 35.7", "108.1 99.5 100.2"),
}


@pytest.fixture(scope="module")
def projections():
    """The table as computed from the points."""
    return published_projections(published_results())


@pytest.mark.parametrize(("benchmark", "error"), PUBLISHED)
@pytest.mark.parametrize(("place", "form"), [(0, "polynomial"), (1, "exponential")])
def test_each_projection_has_the_published_digit(projections, benchmark, error, place, form):
    """Computation, carbon and money to the printed decimal."""
    same = (projections["benchmark"] == benchmark) & (projections["error"] == error) & (projections["form"] == form)
    row = projections[same].iloc[0]
    ours = " ".join(f"{row[name]:.1f}" for name in ("log10_gflop", "log10_pounds_co2", "log10_usd"))

    assert ours == PUBLISHED[benchmark, error][place]


def test_nothing_else_is_projected(projections):
    """Fifteen targets by two forms."""
    assert len(projections) == 2 * len(PUBLISHED)


def test_dollars_are_hours_of_a_v100():
    """14.13e12 FLOP/s for 0.74 USD an hour."""
    assert pytest.approx(14.13e12 * 3600 / 0.74, rel=1e-9) == FLOP_PER_USD


def test_thirteen_points_do_not_carry_the_five_per_cent_target():
    """The published quantiles of the bootstrap, to its own noise; the upper end is a heavy tail."""
    compute, performance = log_axes(rows_of(published_results(), "ImageNet", "burden"))
    found = pairs_bootstrap(compute, performance, 0.05, n_resamples=20_000).quantiles

    for probability, published, tolerance in (
        (0.025, 16.2, 0.15), (0.16, 17.5, 0.1), (0.5, 19.0, 0.1), (0.84, 22.9, 0.4), (0.975, 53.8, 8.0),
    ):  # fmt: skip
        assert found[probability] == pytest.approx(published, abs=tolerance)
