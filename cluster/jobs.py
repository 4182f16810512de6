"""Jobs on a cluster that is somewhere else, over Ray's job API.

All that passes is a command's arguments, a folder of small files, and what the command prints. Ray is imported
when a cluster is addressed, not before.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
ENDED = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# A tunnel that breaks is opened again by its owner; the job goes on meanwhile.
PATIENCE_SECONDS = 120.0
_PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Job:
    """One job as the cluster describes it.

    Attributes:
        job_id: What it is addressed by.
        status: ``PENDING``, ``RUNNING``, ``SUCCEEDED``, ``FAILED`` or ``STOPPED``.
        message: What the cluster says of it.
        began: Seconds since 1970; 0 if it has not begun.
        exit_code: Of its command; None if it has not come to an end of its own.
    """

    job_id: str
    status: str
    message: str
    began: float
    exit_code: int | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in ENDED


class Jobs:
    """The jobs of one cluster."""

    def __init__(self, address: str = DEFAULT_ADDRESS) -> None:
        """Connect to a cluster's job server.

        Args:
            address: http or https address of the dashboard, as a rule the near end of a tunnel.

        Raises:
            ValueError: If the address is of another kind.
            ConnectionError: If nothing answers there, or the token is not the cluster's.
        """
        if not address.startswith(("http://", "https://")):
            raise ValueError(
                f"{address} is no address of a job server; give that of the dashboard, such as {DEFAULT_ADDRESS}"
            )
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient

        self.address = address
        try:
            self._client = JobSubmissionClient(address)
        except (ConnectionError, RuntimeError, AuthenticationError) as error:
            raise ConnectionError(_why_not(address, error)) from None

    def submit(self, job_id: str, arguments: Sequence[str], files: Path) -> None:
        """Start a command on the head.

        Args:
            job_id: A name that no job of the cluster has had.
            arguments: The command; each is quoted, so that none of them is read by a shell.
            files: Folder that the command finds as its working directory.

        Raises:
            ValueError: If the id holds anything but letters, digits, dots, dashes and underscores.
        """
        check_job_id(job_id)
        self._client.submit_job(
            entrypoint=shlex.join(arguments), submission_id=job_id, runtime_env={"working_dir": str(files)}
        )

    def find(self, job_id: str) -> Job:
        """Describe a job.

        Raises:
            ValueError: If the cluster has none of that id.
        """
        check_job_id(job_id)
        try:
            found = self._client.get_job_info(job_id)
        except RuntimeError as error:
            if "404" in str(error) or "does not exist" in str(error):
                known = ", ".join(job.job_id for job in self.all()[-5:]) or "none at all"
                raise ValueError(f"the cluster at {self.address} has no job {job_id}; it has {known}") from None
            raise ConnectionError(_why_not(self.address, error)) from None
        return _job(job_id, found)

    def all(self) -> list[Job]:
        """All jobs, the oldest first."""
        jobs = [_job(found.submission_id, found) for found in self._client.list_jobs() if found.submission_id]
        return sorted(jobs, key=lambda job: job.began)

    def log(self, job_id: str) -> str:
        """All that a job has printed."""
        check_job_id(job_id)
        return self._client.get_job_logs(job_id)

    def stop(self, job_id: str) -> None:
        """Ask a job to end; it hears SIGTERM and has a few seconds for its farewell."""
        self.find(job_id)
        self._client.stop_job(job_id)

    def follow(self, job_id: str, write: Callable[[str], object]) -> Job:
        """Pass on what a job prints until it ends; the job does not notice who listens.

        A connection that breaks is opened again for two minutes; nothing is printed twice.

        Raises:
            ConnectionError: If the cluster stays away for longer.
        """
        n_written, last_answer = 0, time.monotonic()
        while True:
            try:
                job = self.find(job_id)
                log = self.log(job_id)
                last_answer = time.monotonic()
            except (ConnectionError, RuntimeError, OSError) as error:
                if time.monotonic() - last_answer > PATIENCE_SECONDS:
                    raise ConnectionError(_why_not(self.address, error)) from None
                time.sleep(_PAUSE_SECONDS)
                continue
            if len(log) > n_written:
                write(log[n_written:])
                n_written = len(log)
            if job.has_ended:
                return job
            time.sleep(_PAUSE_SECONDS)


def check_job_id(job_id: str) -> str:
    """Return an id that is fit for addresses and file names.

    Raises:
        ValueError: If it is not.
    """
    if not _SAFE_ID.fullmatch(job_id):
        raise ValueError(f"job id {job_id!r} may hold only letters, digits, '.', '_' and '-'")
    return job_id


def _job(job_id: str, found: Any) -> Job:
    began = (found.start_time or 0) / 1000
    return Job(job_id, str(found.status.value), found.message or "", began, found.driver_exit_code)


def _why_not(address: str, error: Exception) -> str:
    text = str(error).replace(address, "")
    if re.search(r"\b(401|403)\b|[Uu]nauthenticated|[Aa]uthentication", text):
        return (
            f"the cluster at {address} wants its token: copy the cluster's ~/.ray/auth_token here and set "
            "RAY_AUTH_MODE=token, or set RAY_AUTH_TOKEN"
        )
    return f"no job server answers at {address}; open the tunnel with `make cluster-ui`, or give --address"
