"""A sweep on a cluster that is somewhere else: submitted, followed, cancelled, its records brought home."""

from __future__ import annotations

import datetime
import json
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.parcel import store, unpack
from experiments.exit_codes import ExitCode
from experiments.results import TRIALS_FOLDER, save_sweep
from experiments.sweep import SweepSpec, parse_sweep
from experiments.wording import part_of
from scaling.words import agree

if TYPE_CHECKING:
    from cluster.jobs import Job, Jobs

# Below the home of the user that the head's Ray runs as.
REMOTE_RESULTS = "~/ninthpower-results"
JOBS_FOLDER = "jobs"
PARCEL_SECONDS = 600.0


@dataclass(frozen=True)
class Submitted:
    """A sweep that a cluster works on; kept at home, so that it can be attached to again.

    Attributes:
        job_id: The job.
        sweep: What runs.
        remote_results: Folder on the head that holds a folder per sweep.
    """

    job_id: str
    sweep: SweepSpec
    remote_results: str


@dataclass(frozen=True)
class BroughtHome:
    """What came home.

    Attributes:
        folder: Results folder of the sweep.
        n_new: Records that were not here yet.
        n_here: Trials of the sweep that have a record here now.
        n_trials: Trials of the sweep.
    """

    folder: Path
    n_new: int
    n_here: int
    n_trials: int

    @property
    def sentence(self) -> str:
        """How much of the sweep is here."""
        are = agree(self.n_trials, "is", "are")
        return f"{part_of(self.n_here, self.n_trials, 'trial')} {are} at home, {self.n_new} new, in {self.folder}"


def submit_sweep(
    jobs: Jobs,
    sweep: SweepSpec,
    results_folder: Path,
    *,
    options: Sequence[str] = (),
    remote_results: str = REMOTE_RESULTS,
) -> Submitted:
    """Start a sweep on the head of a cluster; a second one of the same name waits for the first there.

    The sweep travels as a file that the head reads; its name and values are in no command.

    Args:
        jobs: The cluster.
        sweep: What to run.
        results_folder: Folder at home that holds a folder per sweep.
        options: Further options of `ninthpower sweep`.
        remote_results: Folder on the head.
    """
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    submitted = Submitted(f"{sweep.name[:64]}-{stamp}-{secrets.token_hex(3)}", sweep, remote_results)
    command = ["ninthpower", "sweep", "sweep.yaml", "--address", "auto", "--results", remote_results, "--wait"]
    with tempfile.TemporaryDirectory() as folder:
        # JSON is YAML.
        (Path(folder) / "sweep.yaml").write_text(json.dumps(sweep.model_dump(mode="json")), encoding="utf-8")
        jobs.submit(submitted.job_id, [*command, *options], Path(folder))
    _remember(submitted, results_folder)
    return submitted


def find_submitted(job_id: str, results_folder: Path) -> Submitted:
    """Read what is known at home of a job.

    Raises:
        ValueError: If it was not submitted from this results folder.
    """
    from cluster.jobs import check_job_id

    path = results_folder / JOBS_FOLDER / f"{check_job_id(job_id)}.json"
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.json"))
        raise ValueError(f"no job {job_id} was submitted from {results_folder}; known are {', '.join(known) or 'none'}")
    content = json.loads(path.read_text(encoding="utf-8"))
    return Submitted(job_id, parse_sweep(content["sweep"]), content["remote_results"])


def follow(jobs: Jobs, submitted: Submitted, write: Callable[[str], object]) -> Job:
    """Pass on what the sweep prints until it ends."""
    return jobs.follow(submitted.job_id, write)


def ending(job: Job) -> ExitCode:
    """The exit code of a followed job: that of the sweep there, as far as it could give one.

    A head that is lost, and a command that could not begin, leave what was asked undone.
    """
    if job.status == "STOPPED":
        return ExitCode.INTERRUPTED
    if job.status != "FAILED":
        return ExitCode.DONE
    codes = (ExitCode.TRIALS_FAILED, ExitCode.INTERRUPTED)
    return next((code for code in codes if code == job.exit_code), ExitCode.NOT_POSSIBLE)


def bring_home(jobs: Jobs, submitted: Submitted, results_folder: Path) -> BroughtHome:
    """Fetch the records that the cluster has of a sweep, whether or not it has come to its end.

    Records of trials that are not the sweep's are left out.

    Raises:
        ValueError: If what comes is no parcel of records.
        TimeoutError: If the cluster takes too long to pack it.
    """
    folder = results_folder / submitted.sweep.name
    parcel_id = f"{submitted.job_id}-parcel-{secrets.token_hex(3)}"
    remote = f"{submitted.remote_results}/{submitted.sweep.name}/{TRIALS_FOLDER}"
    with tempfile.TemporaryDirectory() as empty:
        jobs.submit(parcel_id, ["python", "-m", "cluster.parcel", remote], Path(empty))
    _wait(jobs, parcel_id)
    wanted = {trial.trial_id for trial in submitted.sweep.trials()}
    records = [record for record in unpack(jobs.log(parcel_id)) if record.get("trial_id") in wanted]
    n_new = store(records, folder / TRIALS_FOLDER)
    save_sweep(submitted.sweep, folder)
    n_here = sum((folder / TRIALS_FOLDER / f"{trial_id}.json").is_file() for trial_id in wanted)
    return BroughtHome(folder, n_new, n_here, len(wanted))


def _wait(jobs: Jobs, job_id: str) -> None:
    deadline = time.monotonic() + PARCEL_SECONDS
    while not jobs.find(job_id).has_ended:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the cluster has not packed the records within {PARCEL_SECONDS:.0f} s (job {job_id})")
        time.sleep(0.5)


def _remember(submitted: Submitted, results_folder: Path) -> None:
    path = results_folder / JOBS_FOLDER / f"{submitted.job_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"sweep": submitted.sweep.model_dump(mode="json"), "remote_results": submitted.remote_results}
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
