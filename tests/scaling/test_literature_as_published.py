"""The study's regressions: every printed number, typed here and computed from the points."""

import numpy as np
import pytest
from scipy import stats

from scaling.literature import published_results, regress_benchmark
from scaling.literature.regression import log_axes, rows_of

# benchmark: n, intercept, slope, its standard error, R2, exponent, interval, intercept and slope of the
# exponential form, its R2, exponent of the reverse regression, as the study's points give them.
PUBLISHED = {
    "ImageNet": ("13", "-0.0965", "0.0733", "0.0244", "0.452", "13.6", (7.9, 50.7), "-4.1456", "0.8669", "0.484", 6.2),
    "MS COCO": ("33", "0.0015", "0.0226", "0.0063", "0.290", "44.3", (28, 104), "0.8398", "0.0851", "0.273", 12.8),
    "SQuAD 1.1": (
        "16", "-0.3453", "0.1286", "0.0235", "0.682", "7.78", (5.6, 12.8), "-19.8046", "2.9866", "0.757", 5.3,
    ),
    "CoNLL 2003": ("13", "0.9644", "0.0168", "0.0060", "0.418", "59.5", (33, 274), "8.5919", "0.5045", "0.412", 24.9),
    "WMT14 EN-FR": (
        "13", "-0.0313", "0.0237", "0.0069", "0.516", "42.2", (26, 118), "0.7554", "0.0856", "0.486", 21.8,
    ),
    "WMT14 EN-DE": ("13", "0.1186", "0.0023", "0.0132", "0.003", None, None, "1.2757", "0.0110", "0.006", None),
}  # fmt: skip


@pytest.fixture(scope="module")
def table():
    """The results that come with the package."""
    return published_results()


def same_digits(value, printed):
    """Whether a number, rounded to the printed decimals, is the printed one."""
    decimals = len(str(printed).partition(".")[2])
    return f"{value:.{decimals}f}" == str(printed)


@pytest.mark.parametrize("benchmark", PUBLISHED)
def test_both_forms_on_hardware_burden_have_the_published_digits(table, benchmark):
    """Coefficients, standard errors, R2, exponents and their intervals."""
    n, intercept, slope, error, r2, exponent, interval, level, gain, r2_exponential, reverse = PUBLISHED[benchmark]
    polynomial = regress_benchmark(table, benchmark, "polynomial")
    exponential = regress_benchmark(table, benchmark, "exponential")

    assert polynomial.n == exponential.n == int(n)
    for value, printed in (
        (polynomial.intercept, intercept), (polynomial.slope, slope), (polynomial.slope_error, error),
        (polynomial.r2, r2), (exponential.intercept, level), (exponential.slope, gain),
        (exponential.r2, r2_exponential),
    ):  # fmt: skip
        assert same_digits(value, printed), (value, printed)
    assert exponential.exponent is None
    if exponent is None:
        assert not polynomial.significant
        return
    assert polynomial.significant
    assert same_digits(polynomial.exponent, exponent)
    for value, printed in zip(polynomial.exponent_interval(), interval, strict=True):
        assert same_digits(value, printed), (value, printed)
    assert same_digits(polynomial.reverse_exponent, reverse)


@pytest.mark.parametrize("benchmark", PUBLISHED)
def test_regression_agrees_with_scipy(table, benchmark):
    """Another library's least squares on the same points."""
    rows = rows_of(table, benchmark, "burden")
    compute, performance = log_axes(rows)
    reference = stats.linregress(compute, performance)
    ours = regress_benchmark(table, benchmark)

    assert ours.slope == pytest.approx(reference.slope)
    assert ours.intercept == pytest.approx(reference.intercept)
    assert ours.slope_error == pytest.approx(reference.stderr)
    assert ours.intercept_error == pytest.approx(reference.intercept_stderr)
    assert ours.r2 == pytest.approx(reference.rvalue**2)


def test_ninth_power_comes_from_mixed_units(table):
    """Computation per pass as printed gives 9.35; with multiply-adds called so throughout it is 10.9."""
    printed = regress_benchmark(table, "ImageNet", measure="per-pass-as-printed")
    corrected = regress_benchmark(table, "ImageNet", measure="per-pass")

    assert printed.n == corrected.n == 110
    assert same_digits(printed.slope, ".1070".replace(".", "0.", 1))
    assert same_digits(printed.slope_error, "0.0112")
    assert same_digits(printed.r2, "0.458")
    assert same_digits(printed.exponent, "9.35")
    assert same_digits(corrected.exponent, "10.9")


@pytest.mark.parametrize(("slope", "printed"), [(0.11, "9.1"), (0.13, "7.7"), (0.02, "50")])
def test_printed_exponents_are_reciprocals_of_rounded_slopes(table, slope, printed):
    """Two decimals of a slope become two digits of an exponent."""
    found = [regress_benchmark(table, name) for name in ("SQuAD 1.1", "MS COCO")]
    found.append(regress_benchmark(table, "ImageNet", measure="per-pass-as-printed"))
    match = [one for one in found if round(one.slope, 2) == slope]

    assert len(match) == 1
    assert same_digits(match[0].exponent_as_printed, printed)


def test_every_point_is_there_with_its_paper(table):
    """101 burdens on six benchmarks, 110 passes of ImageNet, each with a source."""
    burden = table[table["hardware_burden_flop"].notna()]

    assert burden.groupby("benchmark").size().to_dict() == {name: int(row[0]) for name, row in PUBLISHED.items()}
    assert table["per_pass"].notna().sum() == 110
    assert (table["paper"] != "").all()
    assert (table["paper_url"].str.startswith("https://")).all()


def test_hardware_multiplies_to_the_burden(table):
    """Where the devices and hours of a result are known, devices x rate x time is the burden of the study."""
    known = table[table["devices"].notna()]
    product = known["devices"] * known["hours"] * 3600 * known["device_flops_per_second"]

    assert len(known) >= 4
    np.testing.assert_allclose(product, known["hardware_burden_flop"], rtol=1e-9)
