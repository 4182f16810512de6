"""Where the commands print."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

LOG_COLUMNS = 140


def make_console() -> Console:
    """A console of the terminal's width; where there is none, tables get the room they need instead of 80 columns."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else LOG_COLUMNS)
