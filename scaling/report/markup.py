"""Pieces of markup: text that is never markup itself, tables, lists, pictures."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd

# A figure of 7.2 inches, the usual width, then fills the column of 60 rem.
PIXELS_PER_POINT = 1.86


def asset(name: str) -> str:
    """A file that lies beside this one: a template, the style, the script."""
    return resources.files("scaling.report").joinpath(name).read_text(encoding="utf-8")


def text(value: object) -> str:
    """A value as text of the page: what a stranger's table holds is shown, not run."""
    return html.escape(str(value))


def section(title: str, body: str) -> str:
    """A headed part of the page; nothing if it has no body."""
    return f"<section><h2>{text(title)}</h2>{body}</section>" if body else ""


def picture(title: str, caption: str, path: Path) -> str:
    """A saved svg or png within the page.

    An image, not inlined markup: several svg files in one page would share their identifiers.
    """
    kind = {".svg": "image/svg+xml", ".png": "image/png"}[path.suffix]
    content = path.read_bytes()
    data = base64.b64encode(content).decode("ascii")
    return (
        f'<figure><img alt="{text(title)}"{_widest(content)} src="data:{kind};base64,{data}">'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )


def _widest(svg: bytes) -> str:
    """Up to which width a picture is blown up, so that the letters of small and of large ones are of one size."""
    found = re.search(rb'<svg[^>]*? width="([0-9.]+)pt"', svg[:2000])
    return f' style="max-width: {float(found[1]) * PIXELS_PER_POINT:.0f}px"' if found else ""


def table(frame: pd.DataFrame, title: str) -> str:
    """A table that scrolls in its own box, reachable by keyboard."""
    head = "".join(_heading(str(name), frame[name]) for name in frame.columns)
    rows = "".join(
        "<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in frame.itertuples(index=False, name=None)
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{text(title)}"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def folded(summary: str, body: str) -> str:
    """A part that opens on demand."""
    return f"<details><summary>{text(summary)}</summary>{body}</details>"


def paragraphs(sentences: Sequence[str]) -> str:
    """One paragraph per sentence."""
    return "".join(f"<p>{text(sentence)}</p>" for sentence in sentences)


def bullets(sentences: Sequence[str]) -> str:
    """A list; nothing if it is empty."""
    return "<ul>" + "".join(f"<li>{text(sentence)}</li>" for sentence in sentences) + "</ul>" if sentences else ""


def definitions(entries: Mapping[str, str]) -> str:
    """Names with their values; a value of several lines keeps them."""
    lines = "".join(f"<dt>{text(name)}</dt><dd>{_value(value)}</dd>" for name, value in entries.items())
    return f"<dl>{lines}</dl>" if entries else ""


def _value(value: str) -> str:
    return f'<pre tabindex="0">{text(value)}</pre>' if "\n" in value.strip() else text(value)


def _heading(name: str, values: pd.Series) -> str:
    kind = ' class="number"' if pd.api.types.is_numeric_dtype(values) else ""
    return f'<th scope="col"{kind}>{text(name)}</th>'


def _cell(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return '<td class="number">–</td>'
    if isinstance(value, float | np.floating):
        return f'<td class="number">{value:.4g}</td>'
    if isinstance(value, int | np.integer):
        return f'<td class="number">{value}</td>'
    return f"<td>{text(value)}</td>"
