"""The commands around a cluster: submit, sync, doctor. Arguments and printing, no logic."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.exit_codes import ExitCode
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
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
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
    as_json: Annotated[bool, typer.Option("--json", help="With --list: print JSON for machines.")] = False,
) -> None:
    """Run a sweep on a cluster that is somewhere else, follow it, and bring its results home.

    Ctrl-C ends the following, not the sweep. The exit code is that of the sweep there.

    Example: ninthpower submit experiments/sweeps/digits.yaml
    """
    from cluster.jobs import Jobs
    from experiments.submitting import find_submitted, submit_sweep
    from experiments.sweep import load_sweep

    asked = [one for one in (sweep, attach, fetch, cancel, show_jobs or None) if one is not None]
    if len(asked) != 1:
        raise ValueError("give one of a sweep file, --attach JOB, --fetch JOB, --cancel JOB and --list")
    if as_json and not show_jobs:
        raise ValueError("--json goes with --list; a sweep that is followed prints what it prints there")
    loaded = load_sweep(sweep, overrides or ()) if sweep else None
    job_id = attach or fetch or cancel
    submitted = find_submitted(job_id, results) if job_id else None
    jobs = Jobs(address)
    if as_json:
        typer.echo(json.dumps([asdict(job) for job in jobs.all()], indent=1))
        return
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
    _follow_and_fetch(jobs, submitted, results, follow_it=not fetch, is_cancelled=bool(cancel))


def _follow_and_fetch(jobs: Jobs, submitted: Submitted, results: Path, *, follow_it: bool, is_cancelled: bool) -> None:
    from experiments.submitting import bring_home, ending, follow

    code = ExitCode.DONE
    if follow_it:
        try:
            job = follow(jobs, submitted, _write)
        except KeyboardInterrupt:
            typer.echo(
                f"\nthe sweep goes on without you; next: ninthpower submit --attach {submitted.job_id} "
                f"--address {jobs.address} --results {results}"
            )
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        code = ExitCode.DONE if is_cancelled else ending(job)
        typer.echo(f"job {job.job_id} {job.status.lower()}" + (f": {job.message}" if job.status == "FAILED" else ""))
    home = bring_home(jobs, submitted, results)
    typer.echo(home.sentence)
    if home.n_here:
        typer.echo(f"next: ninthpower fit {home.folder}")
    if code is not ExitCode.DONE:
        raise typer.Exit(code)


def sync(
    results: Annotated[
        Path, typer.Argument(help="Folder of one sweep, or one that holds a folder per sweep.")
    ] = RESULTS,
    tracking_uri: TrackingOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deliver to MLflow what it missed, and exchange with the storage what either side lacks.

    Without --tracking-uri each sweep's runs go where its last start was told to send them.

    Example: ninthpower sync results/digits
    """
    from experiments.destination import where_seen
    from experiments.syncing import sweep_folders, sync_sweep

    found = []
    folders = sweep_folders(results.absolute())
    for folder in folders:
        with working(f"delivering {folder.name}") as progress:
            synced = sync_sweep(
                folder, tracking_uri=tracking_uri or None, storage_uri=storage or None, progress=progress
            )
        found.append(synced)
        if not as_json:
            typer.echo(synced.sentence)
    incomplete = any(synced.problem for synced in found)
    here = results.parent if folders == [results.absolute()] else results
    if as_json:
        typer.echo(json.dumps([synced.to_dict() for synced in found], indent=1))
    elif incomplete:
        say_next("ninthpower", "doctor", "--results", here)
    else:
        say_next(*where_seen(found[0].destination, here, found[0].name))
    if incomplete:
        raise typer.Exit(ExitCode.NOT_IN_ORDER)


def doctor(
    results: ResultsOption = RESULTS,
    address: Annotated[
        str | None, typer.Option(help="Cluster to look at: host:port, `auto`, or the http address of its job server.")
    ] = None,
    tracking_uri: TrackingOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at the environment, the results, and what is named of cluster, tracking server and storage.

    Exit code 1 says that something needs mending.

    Example: ninthpower doctor --tracking-uri http://127.0.0.1:5000
    """
    from experiments.doctor import examine

    findings = examine(results, address=address, tracking_uri=tracking_uri or None, storage_uri=storage or None)
    good = all(finding.good for finding in findings)
    if as_json:
        typer.echo(json.dumps({"good": good, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        console = make_console()
        for finding in findings:
            console.print(f"{'ok  ' if finding.good else 'MEND'}  {finding.sentence}", markup=False, soft_wrap=True)
    if not good:
        raise typer.Exit(ExitCode.NOT_IN_ORDER)
    if not as_json:
        say_next("ninthpower", "init", "mine.yaml")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
