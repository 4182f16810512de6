"""The commands around a cluster: submit, sync, doctor. Arguments and printing, no logic."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.terminal import make_console, say_next, working

if TYPE_CHECKING:
    from cluster.jobs import Jobs
    from experiments.submitting import Submitted

ResultsOption = Annotated[Path, typer.Option("--results", help="Folder that holds a folder per sweep.")]
TrackingOption = Annotated[
    str | None,
    typer.Option(
        envvar="NINTHPOWER_TRACKING_URI",
        help="MLflow tracking server; by default a SQLite file in the results folder.",
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        envvar="NINTHPOWER_STORAGE",
        help="Where records are kept as well, such as s3://bucket/ninthpower; a new head begins with them.",
    ),
]
RESULTS = Path("results")


def submit(
    sweep: Annotated[Path | None, typer.Argument(help="Sweep file (YAML).", show_default=False)] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as grid.width=[8,16]; may be repeated."),
    ] = None,
    address: Annotated[
        str, typer.Option(envvar="NINTHPOWER_CLUSTER", help="Job server of the cluster, as a rule through a tunnel.")
    ] = "http://127.0.0.1:8265",
    results: ResultsOption = RESULTS,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Most trials side by side.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Folder of data sets on the cluster's machines.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not follow the sweep.")] = False,
    attach: Annotated[str | None, typer.Option(metavar="JOB", help="Follow a sweep that was submitted before.")] = None,
    fetch: Annotated[str | None, typer.Option(metavar="JOB", help="Bring home what there is of it now.")] = None,
    cancel: Annotated[str | None, typer.Option(metavar="JOB", help="End it; finished trials stay finished.")] = None,
    show_jobs: Annotated[bool, typer.Option("--list", help="List the cluster's jobs.")] = False,
) -> None:
    """Run a sweep on a cluster that is somewhere else, follow it, and bring its results home.

    Ctrl-C ends the following, not the sweep.

    Example: ninthpower submit experiments/sweeps/digits.yaml
    """
    from cluster.jobs import Jobs
    from experiments.submitting import find_submitted, submit_sweep
    from experiments.sweep import load_sweep

    asked = [one for one in (sweep, attach, fetch, cancel, show_jobs or None) if one is not None]
    if len(asked) != 1:
        raise ValueError("give one of a sweep file, --attach JOB, --fetch JOB, --cancel JOB and --list")
    loaded = load_sweep(sweep, overrides or ()) if sweep else None
    job_id = attach or fetch or cancel
    submitted = find_submitted(job_id, results) if job_id else None
    jobs = Jobs(address)
    if show_jobs:
        for job in jobs.all():
            typer.echo(f"{job.job_id}\t{job.status}\t{job.message}")
        say_next("ninthpower", "submit", "--attach", "JOB", "--address", address)
        return
    if loaded is not None:
        options = [*(["--workers", str(workers)] if workers else []), *(["--data", data] if data else [])]
        submitted = submit_sweep(jobs, loaded, results, options=options)
        typer.echo(f"job {submitted.job_id} on {address}")
    assert submitted is not None
    if detach:
        typer.echo(f"next: ninthpower submit --attach {submitted.job_id} --address {address} --results {results}")
        return
    if cancel:
        jobs.stop(submitted.job_id)
    _follow_and_fetch(jobs, submitted, results, follow_it=not fetch)


def _follow_and_fetch(jobs: Jobs, submitted: Submitted, results: Path, *, follow_it: bool) -> None:
    from experiments.submitting import bring_home, follow

    failed = False
    if follow_it:
        try:
            job = follow(jobs, submitted, _write)
        except KeyboardInterrupt:
            typer.echo(
                f"\nthe sweep goes on without you; next: ninthpower submit --attach {submitted.job_id} "
                f"--address {jobs.address} --results {results}"
            )
            raise typer.Exit(130) from None
        failed = job.status == "FAILED"
        typer.echo(f"job {job.job_id} {job.status.lower()}" + (f": {job.message}" if failed else ""))
    home = bring_home(jobs, submitted, results)
    typer.echo(home.sentence)
    if home.n_here:
        typer.echo(f"next: ninthpower fit {home.folder}")
    if failed:
        raise typer.Exit(3)


def sync(
    results: Annotated[
        Path, typer.Argument(help="Folder of one sweep, or one that holds a folder per sweep.")
    ] = RESULTS,
    tracking_uri: TrackingOption = None,
    storage: StorageOption = None,
) -> None:
    """Deliver to MLflow what it missed, and exchange with the storage what either side lacks.

    Example: ninthpower sync results/digits --tracking-uri http://127.0.0.1:5000
    """
    from experiments.syncing import sweep_folders, sync_sweep

    incomplete = False
    folders = sweep_folders(results.absolute())
    for folder in folders:
        with working(f"delivering {folder.name}") as progress:
            synced = sync_sweep(
                folder, tracking_uri=tracking_uri or None, storage_uri=storage or None, progress=progress
            )
        typer.echo(synced.sentence)
        incomplete = incomplete or bool(synced.problem)
    if incomplete:
        say_next("ninthpower", "doctor", "--results", results)
        raise typer.Exit(1)
    say_next("ninthpower", "ui", "--results", results.parent if folders == [results.absolute()] else results)


def doctor(
    results: ResultsOption = RESULTS,
    address: Annotated[
        str | None, typer.Option(help="Cluster to look at: host:port, `auto`, or the http address of its job server.")
    ] = None,
    tracking_uri: TrackingOption = None,
    storage: StorageOption = None,
) -> None:
    """Look at the environment, the results, and what is named of cluster, tracking server and storage.

    Exit code 1 says that something needs mending.

    Example: ninthpower doctor --tracking-uri http://127.0.0.1:5000
    """
    from experiments.doctor import examine

    findings = examine(results, address=address, tracking_uri=tracking_uri or None, storage_uri=storage or None)
    console = make_console()
    for finding in findings:
        console.print(f"{'ok  ' if finding.good else 'MEND'}  {finding.sentence}", markup=False, soft_wrap=True)
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)
    say_next("ninthpower", "init", "mine.yaml")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
