"""How a notebook shows values: a table of facts, or a paragraph; a name from somebody's table is never markup."""

from __future__ import annotations

import html
from collections.abc import Iterable

import pandas as pd


def facts_html(title: str, facts: Iterable[tuple[str, str]]) -> str:
    """A captioned table of names and values."""
    left = "style='text-align:left'"
    rows = "".join(
        f"<tr><th {left}>{html.escape(name)}</th><td {left}>{html.escape(value)}</td></tr>" for name, value in facts
    )
    return f"<table><caption>{html.escape(title)}</caption>{rows}</table>"


def paragraph_html(words: str) -> str:
    """One paragraph."""
    return f"<p>{html.escape(words)}</p>"


def frame_html(table: pd.DataFrame) -> str:
    """A table of numbers to four digits, without its index."""
    return str(table.to_html(index=False, float_format=lambda value: f"{value:.4g}", na_rep="–"))
