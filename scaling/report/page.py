"""The page from top to bottom, in one file that needs no other and no network."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

import pandas as pd

from scaling.report.chart import ReportChart, chart_markup
from scaling.report.markup import asset, bullets, definitions, folded, paragraphs, picture, section, table, text


@dataclass(frozen=True)
class ReportFigure:
    """A picture, already saved as svg or png, with the sentence below it."""

    title: str
    caption: str
    svg: Path


@dataclass(frozen=True)
class ReportTable:
    """A table with the sentence above it; a long one is folded until it is asked for."""

    title: str
    caption: str
    table: pd.DataFrame
    folded: bool = False


@dataclass(frozen=True)
class ReportText:
    """Sentences under a heading."""

    title: str
    sentences: Sequence[str]


@dataclass(frozen=True)
class Report:
    """What the page says, from top to bottom.

    Attributes:
        title: Heading of the page.
        answer: Sentences, each with its interval: what one reads who reads nothing else.
        more: Sentences that qualify the answer.
        chart: The trials, to be turned and asked.
        comparison: The comparison of techniques, in the order it is read: texts, pictures, tables.
        figures: Pictures.
        tables: Tables.
        method: How it was measured, one sentence each.
        not_known: What the data cannot say, one sentence each.
        provenance: What is needed to run it again.
    """

    title: str
    answer: Sequence[str]
    more: Sequence[str] = ()
    chart: ReportChart | None = None
    comparison: Sequence[ReportText | ReportFigure | ReportTable] = ()
    figures: Sequence[ReportFigure] = ()
    tables: Sequence[ReportTable] = ()
    method: Sequence[str] = ()
    not_known: Sequence[str] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)


def write_report(report: Report, path: Path) -> Path:
    """Write the page; it needs no other file and no network. The same report gives the same bytes."""
    page = Template(asset("page.html")).substitute(
        title=text(report.title),
        style=asset("style.css"),
        answer=paragraphs(report.answer),
        more=paragraphs(report.more),
        chart="" if report.chart is None else chart_markup(report.chart),
        comparison="".join(map(_part, report.comparison)),
        figures="".join(map(_part, report.figures)),
        tables="".join(map(_part, report.tables)),
        method=section("How it was measured", bullets(report.method)),
        not_known=section("What these runs do not say", bullets(report.not_known)),
        provenance=section("How to run it again", definitions(report.provenance)),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(page)
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
    return path


def _part(part: ReportText | ReportFigure | ReportTable) -> str:
    if isinstance(part, ReportText):
        return section(part.title, bullets(part.sentences))
    if isinstance(part, ReportFigure):
        return section(part.title, picture(part.title, part.caption, part.svg))
    rows = table(part.table, part.title)
    body = folded(f"Show all {len(part.table)} rows", rows) if part.folded else rows
    return section(part.title, f"<p>{text(part.caption)}</p>{body}")
