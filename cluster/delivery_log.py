"""Which records a tracking server has: a file in the results folder, one line for each delivery."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.lock import one_at_a_time
from cluster.mlflow_errors import without_password
from cluster.records import write_atomically


@dataclass(frozen=True)
class Delivery:
    """A record that has arrived.

    Attributes:
        digest: Hash of the record's content; another one means that the trial was run again.
        run_id: The run that holds it.
    """

    digest: str
    run_id: str


class DeliveryLog:
    """Deliveries to one experiment of one server. A lost line is no harm: the server is asked then."""

    def __init__(self, folder: Path, uri: str, experiment: str) -> None:
        # A password that changes, or is given in another way, makes no other server.
        key = hashlib.sha256(f"{without_password(uri)}\n{experiment}".encode()).hexdigest()[:12]
        self.path = folder / "tracking" / f"delivered-{key}.jsonl"
        self._deliveries: dict[str, Delivery] = {}
        self._n_read = 0
        self._read_on()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other processes that deliver from this folder waiting, with what they have noted so far at hand."""
        with one_at_a_time(self.path.with_suffix(".lock")):
            self._read_on()
            yield

    @property
    def run_ids(self) -> dict[str, str]:
        """The run that holds each delivered trial."""
        return {trial_id: delivery.run_id for trial_id, delivery in self._deliveries.items()}

    def writer(self) -> str:
        """Name of this folder in MLflow, by which its runs are told from those that other folders have delivered.

        Made once, of chance and the folder's path, so that a copy of the folder goes by another name.
        """
        path = self.path.with_name("writer")
        with one_at_a_time(path.with_suffix(".lock")):
            if not path.exists():
                write_atomically(path, secrets.token_hex(16).encode())
            token = path.read_text(encoding="utf-8")
        return hashlib.sha256(f"{token}\n{path.absolute()}".encode()).hexdigest()[:16]

    def find(self, trial_id: str) -> Delivery | None:
        """Return the delivery of a trial, or None if there is no note of one."""
        return self._deliveries.get(trial_id)

    def add(self, trial_id: str, delivery: Delivery) -> None:
        """Note a delivery at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"trial_id": trial_id, "digest": delivery.digest, "run_id": delivery.run_id})
        with open(self.path, "a", encoding="utf-8") as file:
            # The line break comes first, so that a line torn by a crash spoils none but itself.
            file.write(f"\n{line}")
        self._deliveries[trial_id] = delivery

    def _read_on(self) -> None:
        """Read what has been noted since the last look."""
        if not self.path.exists() or self.path.stat().st_size == self._n_read:
            return
        with open(self.path, "rb") as file:
            file.seek(self._n_read)
            content = file.read()
        self._n_read += len(content)
        for line in content.decode("utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                self._deliveries[entry["trial_id"]] = Delivery(entry["digest"], entry["run_id"])
            except (ValueError, KeyError, TypeError):
                continue
