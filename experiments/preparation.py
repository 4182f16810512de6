"""What several trials need and one of them makes, once per node: teachers, pre-trained weights, scores."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.data.cache import cached_arrays
from experiments.ledger import Ledger, Phase

Tensors = dict[str, Tensor]

# Raised when what is kept changes its form or meaning.
PREPARATION_VERSION = 1


def prepare_once(
    cache_folder: Path, what: Mapping[str, Any], ledger: Ledger, make: Callable[[Ledger], Tensors]
) -> tuple[Tensors, list[Phase], bool]:
    """Return what was made here or by another trial of this node, and what it cost whoever made it.

    Args:
        cache_folder: Where it is kept, with weights alone: nothing in it is executed on reading.
        what: Everything that the result depends on, as plain data; its hash is the name.
        ledger: Lends its account and device; nothing is entered in it.
        make: Makes the tensors and enters what it spends in the ledger it is given. Global random
            states are restored after it, so that a trial goes on alike whether or not it was called.

    Returns:
        The tensors on the CPU, the phases that `make` entered, and whether it was called just now.
    """
    made: list[bool] = []

    def arrays() -> dict[str, np.ndarray]:
        own = Ledger(ledger.account, ledger.device, parent=ledger)
        states = random.getstate(), np.random.get_state()  # noqa: NPY002 - a user's own code may draw from it
        with torch.random.fork_rng():
            tensors = make(own)
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        made.append(True)
        buffer = io.BytesIO()
        torch.save({name: tensor.detach().cpu() for name, tensor in tensors.items()}, buffer)
        cost = json.dumps([asdict(phase) for phase in own.phases]).encode()
        return {
            "tensors": np.frombuffer(buffer.getvalue(), dtype=np.uint8),
            "cost": np.frombuffer(cost, dtype=np.uint8),
        }

    text = json.dumps({"version": PREPARATION_VERSION, **what}, sort_keys=True)
    name = f"prepared-{hashlib.sha256(text.encode()).hexdigest()[:24]}"
    found = cached_arrays(cache_folder, name, arrays)
    tensors = torch.load(io.BytesIO(found["tensors"].tobytes()), weights_only=True)
    phases = [Phase(**entry) for entry in json.loads(found["cost"].tobytes())]
    return tensors, phases, bool(made)
