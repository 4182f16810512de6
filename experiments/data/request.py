"""The name of a data set as a sweep file gives it, taken apart: `kind:target?option=value`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl


@dataclass(frozen=True)
class Request:
    """What was asked for, and where to look for it.

    `name` is the whole name as it was given and stands in the runs table.
    """

    name: str
    kind: str
    target: str
    data_folder: Path
    cache_folder: Path
    download: bool = False
    options: Mapping[str, str] = field(default_factory=dict)

    def allow_options(self, *allowed: str) -> None:
        """Refuse options that the data set does not have.

        Raises:
            ValueError: If there is one; the allowed ones are listed.
        """
        unknown = [option for option in self.options if option not in allowed]
        if unknown:
            choice = f"allowed are {', '.join(allowed)}" if allowed else "it has none"
            raise ValueError(f"{self.name!r}: {self.kind} knows no option {unknown[0]!r}; {choice}")

    def whole_number(self, option: str, default: int, lowest: int, highest: int) -> int:
        """Read an option that is a whole number.

        Raises:
            ValueError: If it is none, or out of range.
        """
        text = self.options.get(option, str(default))
        if not (text.isascii() and text.isdigit() and lowest <= int(text) <= highest):
            raise ValueError(
                f"{self.name!r}: {option} is {text!r}, but it is a whole number from {lowest} to {highest}"
            )
        return int(text)


def parse_request(name: str, *, data_folder: Path, cache_folder: Path, download: bool) -> Request:
    """Take a data set's name apart.

    Raises:
        ValueError: If what follows the question mark is not `option=value&option=value`.
    """
    stem, _, query = name.partition("?")
    kind, _, target = stem.partition(":")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise ValueError(f"{name!r}: after '?' write option=value, several joined by '&'") from None
    if len(dict(pairs)) < len(pairs):
        raise ValueError(f"{name!r}: an option is given twice; keep one")
    return Request(name, kind, target, data_folder, cache_folder, download, dict(pairs))
