"""The one style of all figures, and what they share: labels, percent axes, files with their numbers."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatterSciNotation, LogLocator, NullFormatter

from scaling.columns import column, label
from scaling.export import check_writable

if TYPE_CHECKING:
    from scaling.bootstrap import Intervals

# Okabe and Ito's colours, told apart by the colour-blind, in an order that also steps in grey.
PALETTE = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
# Marks that differ in shape, so that a picture reads in grey too.
MARKERS = ("o", "s", "^", "D", "P", "v", "X", "*")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 1.5, 1, 1.5)))
# Above this many marks a scatter is a picture within the svg: thousands of paths would be megabytes.
MOST_VECTOR_MARKS = 1500
# Rings of more frontier cells than this are drawn small, or they would hide the frontier.
MOST_LARGE_RINGS = 40
FILE_DPI = 200
# Seven colours that a line may have on white, and one for an eighth.
LINE_COLOURS = (*PALETTE[:7], "#8a8a8a")
UNKNOWN_COLOUR = PALETTE[4]
# Of marks coloured by a number: cividis steps evenly in grey and for the colour-blind; a mark whose number is not known
# has a colour that cividis has not: matplotlib would leave it out.
SIZE_COLOURS = {"cmap": colormaps["cividis_r"].with_extremes(bad=UNKNOWN_COLOUR), "plotnonfinite": True}
RAISED = str.maketrans("-−0123456789", "⁻⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
SENTENCE_COLUMNS = 56


def style() -> dict[Any, Any]:
    """Return the settings all figures share, for ``matplotlib.rc_context``."""
    return {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.which": "major",
        "grid.color": "#dddddd",
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        # Lines under a legend stay seen, and its words stay legible.
        "legend.frameon": True,
        "legend.facecolor": "white",
        "legend.edgecolor": "none",
        "legend.framealpha": 0.8,
        "figure.constrained_layout.use": True,
        "savefig.dpi": FILE_DPI,
        "svg.fonttype": "path",
        "svg.hashsalt": "ninthpower",
    }


def axis_label(name: str) -> str:
    """Label of a column of the runs table: its meaning in words, and its unit."""
    words = label(name)
    try:
        unit = column(name).unit
    except ValueError:
        unit = ""
    return f"{words} [{unit}]" if unit and unit not in words else words


def column_kind(name: str) -> str:
    """Kind of a column of the runs table, ``unknown`` for one it does not know."""
    try:
        return column(name).kind
    except ValueError:
        return "unknown"


class PlainPowers(LogFormatterSciNotation):
    """Powers of ten with Unicode's raised digits.

    Matplotlib's own labels are formulas, whose parsing took a tenth of the time of a whole report.
    """

    def __call__(self, value: float, position: int | None = None) -> str:
        """The label of a tick, empty where there is to be none."""
        words = str(super().__call__(value, position)).replace(r"\times", "×")
        powers = re.sub(r"\^\{([^}]*)\}", lambda found: found[1].translate(RAISED), words)
        return re.sub(r"[$\\{}]|mathdefault", "", powers)


def in_powers(value: float) -> str:
    """A number of two digits for a legend: 1.8×10⁷, 10⁸, 350."""
    mantissa, power = f"{value:.1e}".split("e")
    if -3 < int(power) < 4:
        return f"{value:.2g}"
    raised = f"10{str(int(power)).translate(RAISED)}"
    return raised if mantissa == "1.0" else f"{mantissa.removesuffix('.0')}×{raised}"


def plain_powers(axis: Axis) -> None:
    """Label a logarithmic axis in powers of ten."""
    axis.set_major_formatter(PlainPowers())
    axis.set_minor_formatter(PlainPowers(labelOnlyBase=False))


def log_axis(axes: Axes, which: str, name: str) -> None:
    """Make one axis (``x`` or ``y``) logarithmic in a column, with its label; errors read in percent."""
    getattr(axes, f"set_{which}scale")("log")
    getattr(axes, f"set_{which}label")(axis_label(name))
    axis = getattr(axes, f"{which}axis")
    plain_powers(axis)
    if column_kind(name) == "fraction":
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
        axis.set_minor_formatter(NullFormatter())


def percent_bar(bar: Colorbar) -> None:
    """Let a logarithmic colour bar read in percent."""
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())


def has_band(intervals: Intervals) -> bool:
    """Whether a fit has bands: the refits that survived where most failed agree too well to be one."""
    return bool(intervals.fit.converged and len(intervals.draws) and intervals.parameters)


def mark_size(n_marks: int) -> float:
    """Area of a mark: smaller where there are many."""
    return max(4.0, min(18.0, 2500 / max(1, n_marks)))


def ring_size(n_rings: int) -> float:
    """Diameter of the ring around a cell of the frontier [points]: smaller where there are many."""
    return 6.0 if n_rings <= MOST_LARGE_RINGS else 3.5


def say_instead(axes: Axes, sentence: str, *, columns: int = SENTENCE_COLUMNS, fontsize: float = 9) -> Axes:
    """Say in an empty figure why it is empty."""
    axes.set_axis_off()
    axes.text(
        0.5, 0.5, textwrap.fill(sentence, columns), ha="center", va="center", transform=axes.transAxes,
        fontsize=fontsize, color="#555555",
    )  # fmt: skip
    return axes


def drawable(runs: pd.DataFrame, cost: str, error: str) -> pd.DataFrame:
    """Trials with a cost and an error; zeros are lifted to half an example and marked ``is_zero``."""
    shown = runs.loc[runs[cost].notna() & (runs[cost] > 0) & runs[error].notna()].copy()
    shown["reported"] = shown[error]
    shown["is_zero"] = shown[error] == 0
    positive = shown.loc[~shown["is_zero"], error]
    floor = positive.min() / 2 if len(positive) else 1.0
    if "n_test" in shown.columns:
        floor = (0.5 / shown["n_test"].astype(float)).fillna(floor)
    shown[error] = shown[error].mask(shown["is_zero"], floor)
    return shown.sort_values([cost, error], kind="stable")


def save_figure(figure: Figure, table: pd.DataFrame, folder: str | Path, name: str) -> list[Path]:
    """Write a figure as png and svg with its numbers as csv beside it; return the paths.

    The same figure gives the same bytes.
    """
    folder = check_writable(Path(folder))
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}{suffix}" for suffix in (".png", ".svg", ".csv")]
    with rc_context(style()):
        # Laid out once for both files, which takes longer than drawing, and not by savefig, which draws a figure that
        # ever had a layout twice.
        png = FigureCanvasAgg(figure)
        figure.set_dpi(FILE_DPI)
        layout = figure.get_layout_engine()
        if layout is not None:
            layout.execute(figure)
            figure.set_layout_engine("none")
        png.print_png(paths[0], metadata={"Software": None})
        FigureCanvasSVG(figure).print_svg(paths[1], metadata={"Date": None, "Creator": None})
    table.to_csv(paths[2], index=False)
    return paths
