"""The energy of a trial, and the carbon and money that follow from it.

The joules come from the node's meter (see `energy_meter`), which each trial asks for its share.
Where there is no meter the energy is unknown, with the reason, and never 0.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Source = Literal["measured", "estimated", "unknown"]

START_SECONDS = 30.0
ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class EnergyReading:
    """Joules used since an account was opened, by part, and where each figure comes from."""

    joules: dict[str, float]
    sources: dict[str, str]
    reason: str = ""

    @property
    def total_joules(self) -> float | None:
        """Sum of the parts, None when unknown."""
        return None if self.reason else sum(self.joules.values())

    @property
    def source(self) -> Source:
        """`measured` only if every part that used energy was."""
        if self.reason:
            return "unknown"
        used = {self.sources[part] for part, joules in self.joules.items() if joules > 0}
        return "measured" if used == {"measured"} else "estimated"

    def __add__(self, later: EnergyReading) -> EnergyReading:
        """Of both together; unknown if one is, and measured only where both were."""
        if self.reason or later.reason:
            return EnergyReading({}, {}, self.reason or later.reason)
        parts = {**self.joules, **later.joules}
        joules = {part: self.joules.get(part, 0.0) + later.joules.get(part, 0.0) for part in parts}
        sources = {**self.sources, **later.sources}
        estimated = {
            part for one in (self, later) for part, source in one.sources.items()
            if source != "measured" and one.joules.get(part, 0.0) > 0
        }  # fmt: skip
        return EnergyReading(joules, {**sources, **dict.fromkeys(estimated, "estimated")})


class EnergyAccount:
    """One trial's account with its node's meter; use it as a context manager.

    A meter that cannot be reached makes the reading unknown; the trial itself goes on.
    """

    def __init__(self, gpus: tuple[str, ...] = (), *, socket_path: Path | None = None) -> None:
        self._gpus = gpus
        self._path = socket_path
        self._reason = ""
        self._token = ""
        self._connection: socket.socket | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> EnergyAccount:
        try:
            path = self._path or ensure_meter()
            self._connection = socket.socket(socket.AF_UNIX)
            self._connection.settimeout(ANSWER_SECONDS)
            self._connection.connect(str(path))
            self._file = self._connection.makefile("rw", encoding="utf-8")
            self._token = self._ask(do="begin", pid=os.getpid(), gpus=list(self._gpus))["token"]
        except (OSError, ValueError, KeyError) as error:
            self._reason = f"the node's energy meter cannot be reached: {error}"
        return self

    def __exit__(self, *_: object) -> None:
        if self._token and not self._reason:
            self.read(end=True)
        if self._connection is not None:
            self._connection.close()

    def read(self, *, end: bool = False) -> EnergyReading:
        """Ask for the joules used so far; `end` closes the account. Safe to call from several threads."""
        with self._lock:
            if not self._reason:
                try:
                    answer = self._ask(do="end" if end else "read", token=self._token)
                    if end:
                        self._token = ""
                    return EnergyReading(answer["joules"], answer["sources"])
                except (OSError, ValueError, KeyError) as error:
                    self._reason = f"the node's energy meter stopped answering: {error}"
            return EnergyReading({}, {}, self._reason)

    def _ask(self, **request: Any) -> dict[str, Any]:
        self._file.write(json.dumps(request) + "\n")
        self._file.flush()
        line = self._file.readline()
        if not line:
            raise ValueError("it closed the connection")
        answer = json.loads(line)
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer


def ensure_meter() -> Path:
    """Return the socket of this node's meter, starting one if none answers.

    Raises:
        OSError: If none can be started; the message says why.
    """
    folder = meter_folder()
    path = folder / "meter.sock"
    if _answers(path):
        return path
    from filelock import FileLock

    with FileLock(folder / "meter.lock", timeout=START_SECONDS):
        if not _answers(path):
            _start(path)
    return path


def meter_folder() -> Path:
    """A folder of this user alone, on this node."""
    folder = Path(tempfile.gettempdir()) / f"ninthpower-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    owner = folder.stat()
    if owner.st_uid != os.getuid() or owner.st_mode & 0o077:
        raise OSError(f"{folder} belongs to somebody else or is open to others; remove it")
    return folder


def carbon_intensity(region: str) -> float:
    """Carbon intensity of a grid, from codecarbon's offline tables [g CO2-equivalent per kWh].

    Args:
        region: ISO country code of three letters, or with a state or province: ``USA/texas``.

    Raises:
        ValueError: If the tables hold no such country, state or province.
    """
    from codecarbon.core.emissions import Emissions
    from codecarbon.core.units import Energy
    from codecarbon.external.geography import GeoMetadata
    from codecarbon.input import DataSource

    country, _, state = region.partition("/")
    tables = DataSource()
    mix = tables.get_global_energy_mix_data()
    if country not in mix:
        raise ValueError(
            f"region {region!r} is in none of codecarbon's tables; give a country code of three letters, "
            "such as USA or FRA, or a state with it, such as USA/texas"
        )
    geography = GeoMetadata(country_iso_code=country, country_name=mix[country]["country_name"], region=state or None)
    emissions = Emissions(tables)
    energy = Energy.from_energy(kWh=1.0)
    try:
        kilograms = (emissions.get_region_emissions if state else emissions.get_country_emissions)(energy, geography)
    except (KeyError, ValueError, AttributeError) as error:
        raise ValueError(f"region {region!r} is in none of codecarbon's tables: {error}") from None
    return 1000 * kilograms


def _answers(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(str(path))
            return True
    except OSError:
        return False


def _start(path: Path) -> None:
    log = path.with_suffix(".log")
    with log.open("w", encoding="utf-8") as output:
        subprocess.run(
            [sys.executable, "-m", "experiments.energy_meter", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=Path(__file__).parents[1],
            check=True,
            timeout=START_SECONDS,
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if _answers(path):
                return
            time.sleep(0.05)
    words = log.read_text(encoding="utf-8").strip().splitlines()
    raise OSError(f"no meter started within {START_SECONDS:.0f} s: {words[-1] if words else 'it said nothing'}")
