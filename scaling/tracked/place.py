"""Where runs lie: a path, or an experiment of MLflow written as ``ADDRESS#EXPERIMENT``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

SERVER_PREFIXES = ("http://", "https://")
SQLITE_PREFIX = "sqlite:///"
# Databases that MLflow can write to, and that are read through its server.
DATABASE_PREFIXES = ("postgresql", "mysql", "mssql")
# Name and password. Where a colon follows the name, all up to the last @ is taken for the password.
_CREDENTIALS = re.compile(r"(?<=//)(?:[^/:@]*:.*|[^/@]*)@")
_BROWSER_PLACE = re.compile(r"/experiments/(?P<number>\d+)(?:[/?].*)?")


@dataclass(frozen=True)
class TrackedRuns:
    """The runs of one experiment in MLflow.

    Attributes:
        address: A tracking server's http address, or ``sqlite:///PATH`` of a store on this machine.
        experiment: Name of the experiment; empty where `number` says which, or where there is only one.
        number: MLflow's own id of the experiment, as the address bar of a browser shows it; empty for the name.
    """

    address: str
    experiment: str = ""
    number: str = ""

    def __str__(self) -> str:
        """The form that `runs_source` reads, without a password."""
        return f"{self.shown_address}#{self.experiment or (f'/experiments/{self.number}' if self.number else '')}"

    @property
    def store_file(self) -> Path | None:
        """The file of an SQLite store; None for a server."""
        if not self.address.startswith(SQLITE_PREFIX):
            return None
        return Path(unquote(self.address.removeprefix(SQLITE_PREFIX))).expanduser().absolute()

    @property
    def shown_address(self) -> str:
        """The address without the name and password that it may hold."""
        return without_credentials(self.address)


RunsSource = Path | TrackedRuns


def without_credentials(address: str) -> str:
    """An address without the name and password that it may hold."""
    return _CREDENTIALS.sub("", address)


def is_tracked(text: str | Path) -> bool:
    """Whether a text is an address of MLflow's, not a path."""
    return str(text).startswith((*SERVER_PREFIXES, "sqlite:", *(f"{name}:" for name in DATABASE_PREFIXES))) or bool(
        re.match(rf"({'|'.join(DATABASE_PREFIXES)})\+\w+:", str(text))
    )


def runs_source(text: str | Path, experiment: str | None = None) -> RunsSource:
    """Read where runs lie.

    Args:
        text: A path; ``http://HOST:PORT#EXPERIMENT``; ``sqlite:///PATH#EXPERIMENT``; or what a browser shows of an
            experiment, such as ``http://HOST:PORT/#/experiments/3/runs``.
        experiment: Name of the experiment, where the address does not hold it.

    Raises:
        ValueError: If the address is of no kind that is read, or names two experiments.
    """
    if not is_tracked(text):
        if experiment is not None:
            raise ValueError(f"{text} is a path, which holds no experiment {experiment!r}; leave the experiment out")
        return Path(text)
    address, _, place = str(text).partition("#")
    place = unquote(place)
    found = TrackedRuns(address.rstrip("/") if address.startswith(SERVER_PREFIXES) else address)
    if not address.startswith((*SERVER_PREFIXES, SQLITE_PREFIX)):
        kind = address.split(":")[0]
        raise ValueError(
            f"the address {found.shown_address!r} is a database of the kind {kind}, which is read through its server; "
            "give the http address of an MLflow server on it, or sqlite:///PATH of an SQLite store"
        )
    if place and experiment is not None and place != experiment:
        raise ValueError(f"the address names the experiment {place!r} and the call {experiment!r}; give one of them")
    browser = _BROWSER_PLACE.fullmatch(place)
    if browser:
        return TrackedRuns(found.address, number=browser["number"])
    return TrackedRuns(found.address, experiment if experiment is not None else place)
