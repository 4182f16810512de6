"""Tables from files: what is wrong with a csv or parquet file, in a sentence of ours."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pandas as pd

# Under this key a table's `attrs` hold sentences on what was mended as it was read.
NOTES = "notes"


def read_table(source: Path) -> pd.DataFrame:
    """Read a .parquet file, or any other as a csv, whose headers lose the blanks around them.

    Raises:
        ValueError: If it cannot be read as a table; the message says why, without the file's name.
        OSError: If it cannot be opened.
    """
    if source.suffix != ".parquet":
        return _read_csv(source)
    source.open("rb").close()
    try:
        return pd.read_parquet(source)
    except (OSError, ValueError) as error:
        raise ValueError("it is not a complete parquet file; write it again, or as a csv") from error


def _read_csv(source: Path) -> pd.DataFrame:
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            longest = max((len(line) for line in lines), default=0)
        blank = [name for name in header if name != name.strip()]
        _check_header([name.strip() for name in header], longest)
        frame = pd.read_csv(source, index_col=False, skipinitialspace=bool(blank))
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(f"it is not encoded in UTF-8 (byte 0x{byte:02x}); save it as UTF-8") from error
    except (csv.Error, pd.errors.ParserError) as error:
        raise ValueError("its cells cannot be told apart, perhaps for want of a closing quote") from error
    if blank:
        frame.columns = pd.Index([str(name).strip() for name in frame.columns])
        listed = ", ".join(map(repr, blank[:3])) + (f" and {len(blank) - 3} more" if len(blank) > 3 else "")
        frame.attrs[NOTES] = (f"{source.name} has blanks around names of columns ({listed}), which were taken away",)
    return frame


def number_hint(cell: object) -> str:
    """What to write for a cell that means a number and is none: a percentage, separated thousands, a decimal comma."""
    text = str(cell).strip()
    if re.fullmatch(r"[-+]?\d+(\.\d*)?\s*%", text):
        return f"; write {float(text.rstrip('% ')) / 100:.10g} for {text}"
    if re.fullmatch(r"[-+]?\d{1,3}([,' _\u00a0\u202f]\d{3})+(\.\d*)?", text):
        return f"; write {re.sub(r'[^-+.0-9]', '', text)}, without separators of thousands"
    if re.fullmatch(r"[-+]?\d+,\d+", text):
        return f"; write {text.replace(',', '.')}, with a point"
    return ""


def _check_header(header: list[str], longest: int) -> None:
    """Refuse what pandas would read as something else."""
    if not any(name.strip() for name in header):
        raise ValueError("it has no header; the first line names the columns, separated by commas")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise ValueError(f"its header is {header[0]!r}; cells are separated by commas")
    if longest > len(header):
        raise ValueError(f"a row has more cells than its header ({longest} and {len(header)}); remove trailing commas")
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise ValueError(f"the column {twice[0]!r} stands there twice; drop one")
