"""Machines that a cluster may still start: what its autoscaler may come to, before it has come to it.

Ray does not tell its drivers how far a cluster may grow. What says so is the file that `ray up` leaves on the
head, or, where there is none (Kubernetes), a variable that the launch files set.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = "NINTHPOWER_GROWTH"
BOOTSTRAP_FILE = "ray_bootstrap_config.yaml"


@dataclass(frozen=True)
class NodeKind:
    """One kind of machine that may be started.

    Attributes:
        name: Its name in the launch file.
        resources: What one of them offers, in Ray's names, memory in bytes.
        most: How many may live at once.
    """

    name: str
    resources: Mapping[str, float]
    most: int


def kinds_to_come(environment: Mapping[str, str] | None = None, home: Path | None = None) -> tuple[NodeKind, ...]:
    """Read which machines the cluster may start; none where nothing says so.

    Args:
        environment: Variables; those of this process if not given. ``NINTHPOWER_GROWTH`` is a JSON list of
            ``{"name": "gpu-spot", "resources": {"CPU": 4, "GPU": 1}, "most": 8}``.
        home: Where `ray up` leaves its file on the head.

    Raises:
        ValueError: If the variable is set and is no such list.
    """
    text = (os.environ if environment is None else environment).get(VARIABLE, "")
    if text:
        try:
            return tuple(_kind(entry["name"], entry["resources"], entry["most"]) for entry in json.loads(text))
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{VARIABLE} is {text!r}; it is a list such as "
                '[{"name": "gpu", "resources": {"CPU": 4}, "most": 8}]'
            ) from None
    path = (home or Path.home()) / BOOTSTRAP_FILE
    return _kinds_of_launch_file(path) if path.is_file() else ()


def _kinds_of_launch_file(path: Path) -> tuple[NodeKind, ...]:
    import yaml

    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    most_of_all = int(content.get("max_workers", 0))
    head = content.get("head_node_type")
    return tuple(
        _kind(name, kind.get("resources", {}), min(kind.get("max_workers", most_of_all), most_of_all))
        for name, kind in content.get("available_node_types", {}).items()
        if name != head
    )


def _kind(name: str, resources: Mapping[str, float], most: int) -> NodeKind:
    return NodeKind(str(name), {str(key): float(amount) for key, amount in resources.items()}, int(most))
