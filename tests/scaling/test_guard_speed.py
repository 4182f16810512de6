"""The project's own speed: limits, history, and what is refused."""

import pytest

from scaling.guard.speed import LEAST_HISTORY, WINDOW_NIGHTS, Limit, judge_speed, speed_markdown

LIMITS = {"fit": Limit("peer over ours", at_least=2.0, share_of_usual=0.7)}


def failures(ratio, before=()):
    """What fails for one ratio."""
    [finding] = judge_speed({"fit": ratio}, LIMITS, [{"fit": value} for value in before])
    return finding.failures


@pytest.mark.parametrize(("ratio", "n_failures"), [(2.0, 0), (1.99, 1), (50.0, 0)])
def test_a_ratio_below_its_limit_fails(ratio, n_failures):
    """At the limit it keeps to it."""
    assert len(failures(ratio)) == n_failures


def test_slower_than_usual_fails_though_the_limit_is_kept():
    """Ten is the median of five nights, seven the least that is bearable."""
    before = [9.0, 10.0, 10.0, 11.0, 30.0]

    assert failures(7.0, before) == ()
    [sentence] = failures(6.9, before)
    assert "below 70% of the 10 that 5 nights had" in sentence


def test_few_nights_are_no_history():
    """The median of four says nothing yet."""
    assert failures(3.0, [10.0] * (LEAST_HISTORY - 1)) == ()
    assert failures(3.0, [10.0] * LEAST_HISTORY) != ()


def test_what_was_usual_long_ago_is_forgotten():
    """A change that was meant and borne becomes the usual."""
    assert failures(3.0, [10.0] * 50 + [3.0] * WINDOW_NIGHTS) == ()


def test_the_summary_names_what_failed():
    """Verdict, sentence and a row for every ratio."""
    text = speed_markdown(judge_speed({"fit": 1.0}, LIMITS))

    assert "1 findings" in text
    assert "fit is 1, below its limit of 2 (peer over ours)." in text
    assert "| fit | 1 | 2 | – | 0 |" in text


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ({"fat": 2.0}, "fat, fit"),
        ({}, "do not match: fit"),
        ({"fit": 0.0}, "above 0"),
        ({"fit": float("nan")}, "is nan"),
    ],
)
def test_what_cannot_be_judged_is_refused(ratios, said):
    """A ratio without a limit would never fail."""
    with pytest.raises(ValueError, match=said):
        judge_speed(ratios, LIMITS)


@pytest.mark.parametrize("wrong", [{"at_least": 0.0}, {"at_least": 1.0, "share_of_usual": 1.0}])
def test_a_limit_out_of_range_is_refused(wrong):
    """The value and what is allowed."""
    with pytest.raises(ValueError, match="above 0"):
        Limit("", **wrong)
