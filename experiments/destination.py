"""Where a sweep's runs go in MLflow: what a command was told, and what the results folder remembers of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from experiments.sweep import SweepSpec
from scaling.export import write_json

STORE_NAME = "mlflow.db"
MEMORY = Path("tracking") / "destination.json"
SQLITE = "sqlite:///"
# Parts of a database's address, beside name and password, that let one in.
SECRET_OPTION = re.compile(r"pass|secret|token|key|user", re.IGNORECASE)


@dataclass(frozen=True)
class Destination:
    """Where the runs of one sweep go.

    Attributes:
        uri: Tracking server or database, as it is connected to.
        is_beside: Whether it is the SQLite file beside the results, which `ninthpower ui` shows.
        lacks_credentials: Whether it is remembered from an address that held a name, password or token.
    """

    uri: str
    is_beside: bool = False
    lacks_credentials: bool = False

    @property
    def told(self) -> str | None:
        """The address, where it has to be named."""
        return None if self.is_beside else self.uri

    @property
    def shown(self) -> str:
        """The address without credentials."""
        return without_credentials(self.uri)

    @property
    def remedy(self) -> str:
        """What to do where a remembered address is refused; empty if nothing of it is forgotten."""
        if not self.lacks_credentials:
            return ""
        return "the sweep's address held credentials, which are kept nowhere: give all of it by --tracking-uri"


def first_destination(sweep: SweepSpec, folder: Path, tracking_uri: str | None) -> Destination:
    """Where a start of a sweep sends its runs: where it is told, else what its file says, else the SQLite file.

    Args:
        sweep: The sweep.
        folder: Its results folder.
        tracking_uri: What the command line or the environment says.
    """
    uri = tracking_uri or sweep.tracking.uri
    if uri:
        return Destination(absolute(uri))
    return Destination(f"{SQLITE}{folder.absolute().parent / STORE_NAME}", is_beside=True)


def destination_of(sweep: SweepSpec, folder: Path, tracking_uri: str | None = None) -> Destination:
    """Where the runs of a results folder are: as a start would have it, but that its last start's word is remembered.

    Args:
        sweep: The sweep.
        folder: Its results folder.
        tracking_uri: What the command line or the environment says now.
    """
    remembered = None if tracking_uri else _remembered(folder)
    return remembered or first_destination(sweep, folder, tracking_uri)


def remember_destination(folder: Path, tracking_uri: str | None) -> None:
    """Keep what a sweep was told beside its results, without credentials, for `ninthpower sync`; forget an earlier one.

    Args:
        folder: Results folder of the sweep.
        tracking_uri: What the command line or the environment said; None where the sweep file decides.
    """
    path = folder / MEMORY
    if not tracking_uri:
        path.unlink(missing_ok=True)
        return
    uri = absolute(tracking_uri)
    kept = without_credentials(uri)
    write_json({"uri": kept, "lacks_credentials": kept != uri}, path)


def where_seen(destination: Destination, results: Path, name: str) -> list[str]:
    """The command that shows what MLflow has of a sweep; of a database that only a server shows, its report.

    Args:
        destination: Where its runs are.
        results: Folder that holds a folder per sweep.
        name: The sweep.
    """
    if destination.is_beside:
        return ["ninthpower", "ui", "--results", str(results)]
    if destination.uri.startswith(("http://", "https://")):
        return ["open", destination.shown]
    return ["open", str(results / name / "report.html")]


def absolute(uri: str) -> str:
    """The address of an SQLite file from the root, so that it is the same from any folder."""
    path = uri.removeprefix(SQLITE)
    return uri if path == uri or path.startswith("/") else f"{SQLITE}{Path(path).absolute()}"


def without_credentials(uri: str) -> str:
    """The address without name, password and token, wherever it holds them."""
    if uri.startswith(SQLITE):
        return uri
    parts = urlsplit(uri)
    options = [(name, value) for name, value in parse_qsl(parts.query) if not SECRET_OPTION.search(name)]
    query = parts.query if len(options) == len(parse_qsl(parts.query)) else urlencode(options)
    return re.sub(r"(?<=//).*@", "", urlunsplit(parts._replace(query=query)))


def _remembered(folder: Path) -> Destination | None:
    try:
        content = json.loads((folder / MEMORY).read_text(encoding="utf-8"))
        return Destination(str(content["uri"]), lacks_credentials=bool(content["lacks_credentials"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as damage:
        raise ValueError(
            f"{folder / MEMORY} is damaged ({type(damage).__name__}); delete it, and give --tracking-uri"
        ) from None
