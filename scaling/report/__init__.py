"""One self-contained page for people who never run the program: the answer, the figures, the tables."""

from scaling.report.chart import ReportChart
from scaling.report.page import Report, ReportFigure, ReportTable, ReportText, write_report

__all__ = ["Report", "ReportChart", "ReportFigure", "ReportTable", "ReportText", "write_report"]
