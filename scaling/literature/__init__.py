"""Published results: the points behind the ninth power, their regressions, and what they can carry."""

from scaling.literature.regression import Regression, regress, regress_benchmark
from scaling.literature.table import check_published, published_results, read_published

__all__ = [
    "Regression",
    "check_published",
    "published_results",
    "read_published",
    "regress",
    "regress_benchmark",
]
