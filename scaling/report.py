"""One self-contained page for people who never run the program: the answer, the figures, the tables."""

from __future__ import annotations

import base64
import html
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class ReportFigure:
    """A picture with the sentence below it."""

    title: str
    caption: str
    svg: Path


@dataclass(frozen=True)
class ReportTable:
    """A table with the sentence above it."""

    title: str
    caption: str
    table: pd.DataFrame


@dataclass(frozen=True)
class Report:
    """What the page says, from top to bottom.

    Attributes:
        title: Heading of the page.
        answer: Sentences, each with its interval.
        figures: Pictures, already saved as svg.
        tables: Tables.
        not_known: What the data cannot say, one sentence each.
        provenance: What is needed to run it again.
    """

    title: str
    answer: Sequence[str]
    figures: Sequence[ReportFigure] = ()
    tables: Sequence[ReportTable] = ()
    not_known: Sequence[str] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)


def write_report(report: Report, path: Path) -> Path:
    """Write the page; it needs no other file and no network. The same report gives the same bytes."""
    page = _PAGE.substitute(
        title=html.escape(report.title),
        answer="".join(f"<p>{html.escape(sentence)}</p>" for sentence in report.answer),
        figures="".join(map(_figure, report.figures)),
        tables="".join(map(_table, report.tables)),
        not_known=_list("What these runs do not say", report.not_known),
        provenance=_provenance(report.provenance),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(page)
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
    return path


def _figure(figure: ReportFigure) -> str:
    # An image, not inlined markup: several svg files in one page would share their identifiers.
    data = base64.b64encode(figure.svg.read_bytes()).decode("ascii")
    title, caption = html.escape(figure.title), html.escape(figure.caption)
    return (
        f'<section><h2>{title}</h2><figure><img alt="{title}: {caption}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure></section>"
    )


def _table(table: ReportTable) -> str:
    head = "".join(_heading(str(name), table.table[name]) for name in table.table.columns)
    rows = "".join(
        "<tr>" + "".join(_cell(value) for value in row) + "</tr>"
        for row in table.table.itertuples(index=False, name=None)
    )
    title = html.escape(table.title)
    return (
        f"<section><h2>{title}</h2><p>{html.escape(table.caption)}</p>"
        f'<div class="wide" tabindex="0" role="region" aria-label="{title}"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _heading(name: str, values: pd.Series) -> str:
    kind = ' class="number"' if pd.api.types.is_numeric_dtype(values) else ""
    return f'<th scope="col"{kind}>{html.escape(name)}</th>'


def _cell(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return '<td class="number">–</td>'
    if isinstance(value, float | np.floating):
        return f'<td class="number">{value:.4g}</td>'
    if isinstance(value, int | np.integer):
        return f'<td class="number">{value}</td>'
    return f"<td>{html.escape(str(value))}</td>"


def _list(title: str, sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    return f"<section><h2>{html.escape(title)}</h2><ul>{items}</ul></section>"


def _provenance(entries: Mapping[str, str]) -> str:
    if not entries:
        return ""
    lines = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in entries.items())
    return f"<section><h2>How it was measured</h2><dl>{lines}</dl></section>"


_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #555; --paper: #fff; --line: #ddd; }
@media (prefers-color-scheme: dark) { :root { --ink: #eee; --soft: #b5b5b5; --paper: #16181b; --line: #3a3d42; } }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.answer p { font-size: 1.1rem; margin: .6rem 0; }
figure { margin: 0; } figcaption, section > p { color: var(--soft); font-size: .92rem; }
img { width: 100%; height: auto; background: #fff; border-radius: 4px; }
.wide { overflow: auto; max-height: 30rem; border: 1px solid var(--line); }
table { border-collapse: collapse; font-size: .85rem; width: 100%; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
th { position: sticky; top: 0; background: var(--paper); }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
@media print { .wide { max-height: none; overflow: visible; } section { break-inside: avoid-page; } }
</style>
</head>
<body>
<main>
<h1>$title</h1>
<div class="answer">$answer</div>
$figures
$tables
$not_known
$provenance
</main>
</body>
</html>
""")
