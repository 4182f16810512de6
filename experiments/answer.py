"""What a study found: sentences and tables for people, and the same as JSON can hold it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Answer:
    """Tables by title, sentences, and the content for machines."""

    tables: Mapping[str, pd.DataFrame]
    sentences: tuple[str, ...]
    content: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Content, tables and sentences; what is infinite or not known is null."""
        tables = {title: json_ready(frame.to_dict(orient="records")) for title, frame in self.tables.items()}
        return {**json_ready(dict(self.content)), "tables": tables, "sentences": list(self.sentences)}


def json_ready(value: Any) -> Any:
    """Replace numbers JSON has no word for by null, and numpy's numbers by Python's."""
    if isinstance(value, Mapping):
        return {str(name): json_ready(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(one) for one in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
