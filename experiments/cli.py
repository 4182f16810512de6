"""The command line `ninthpower`: arguments and printing, no logic.

Heavy libraries are imported inside the commands that use them, so that help answers at once.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from experiments.cluster_commands import StorageOption, TrackingOption, doctor, submit, sync
from experiments.compare_command import compare
from experiments.exit_codes import ExitCode, exit_codes_text
from experiments.literature_commands import literature, project, theory
from experiments.nightly_command import baseline, nightly, reproduce
from experiments.output_commands import export, init
from experiments.terminal import make_console, say_next, working
from experiments.wording import refusal_text

STOPPED = "stopped; what was finished is kept, and the same command goes on"


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM, on its way past typer, which would say "Aborted" and end with 1, the code of a verdict."""


class Commands(TyperGroup):
    """The commands, of which each may be interrupted at any time."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted from None


app = typer.Typer(
    name="ninthpower",
    cls=Commands,
    help="Measure how error falls with compute, on your own models and data.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=exit_codes_text(),
)

RESULTS = Path("results")

SweepArgument = Annotated[Path, typer.Argument(help="Sweep file (YAML).", show_default=False)]
RunsArgument = Annotated[
    str,
    typer.Argument(
        help="A results folder, a runs table as .csv or .parquet, or runs in MLflow: http://HOST:PORT#EXPERIMENT or "
        "sqlite:///PATH#EXPERIMENT.",
        show_default=False,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as grid.width=[8,16]; may be repeated."),
]
ResultsOption = Annotated[Path, typer.Option("--results", help="Folder that holds a folder per sweep.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Folder where data sets are looked for.")]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Trials side by side; by default all cores.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: DebugOption = False,
) -> None:
    """Measure how error falls with compute, on your own models and data."""
    if version:
        from importlib import metadata

        typer.echo(f"ninthpower {metadata.version('ninthpower')}")
        raise typer.Exit
    del debug  # `main` has taken it off the line; it stands here for the help


@app.command()
def plan(
    sweep: SweepArgument,
    overrides: SetOption = None,
    results: ResultsOption = RESULTS,
    data: DataOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a sweep would cost, and spend nothing.

    Example: ninthpower plan experiments/sweeps/digits.yaml --set grid.width=[8,16]
    """
    from experiments.printing import print_plan
    from experiments.running import plan_sweep

    asked = _load(sweep, overrides)
    with working("measuring some steps") as progress:
        found = plan_sweep(asked, results_folder=results, data_folder=data, workers=workers, progress=progress)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=1))
    else:
        print_plan(found, make_console())
        _next(_this_command().replace(" plan ", " sweep ", 1))


@app.command()
def sweep(
    sweep: SweepArgument,
    overrides: SetOption = None,
    results: ResultsOption = RESULTS,
    data: DataOption = None,
    workers: WorkersOption = None,
    address: Annotated[str | None, typer.Option(help="Address of a running Ray cluster, or `auto`.")] = None,
    tracking_uri: TrackingOption = None,
    storage: StorageOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end of a sweep of this name that runs.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a sweep's trials, those already finished excepted, then fit and report.

    Example: ninthpower sweep experiments/sweeps/digits.yaml
    """
    from experiments.destination import where_seen
    from experiments.printing import print_analysis
    from experiments.running import run_sweep

    finished = run_sweep(
        _load(sweep, overrides),
        results_folder=results.expanduser(),
        data_folder=data,
        workers=workers,
        address=address,
        tracking_uri=tracking_uri or None,
        storage_uri=storage or None,
        wait_seconds=float("inf") if wait else 0.0,
        console=make_console(stderr=as_json),
        quiet=quiet or as_json,
    )
    if finished.analysis is None:
        typer.echo(f"ninthpower: {finished.outcome.sentence(_this_command())}", err=True)
        raise typer.Exit(ExitCode.INTERRUPTED)
    if as_json:
        typer.echo((finished.folder / "fits.json").read_text(encoding="utf-8"), nl=False)
    else:
        print_analysis(finished.analysis, finished.folder, make_console())
    if finished.outcome.interrupted or finished.outcome.n_failed:
        typer.echo(finished.outcome.sentence(_this_command()), err=True)
    if not as_json and finished.undelivered:
        say_next("ninthpower", "sync", results / finished.folder.name)
    elif not as_json:
        say_next(*where_seen(finished.destination, results, finished.folder.name))
    if finished.outcome.interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    if finished.outcome.n_failed:
        raise typer.Exit(ExitCode.TRIALS_FAILED)


@app.command()
def fit(
    runs: RunsArgument,
    cost: Annotated[str | None, typer.Option(help="Cost column; by default the sweep's, or train_flops.")] = None,
    error: Annotated[str | None, typer.Option(help="Error column; by default the sweep's, or test_error.")] = None,
    law: Annotated[list[str] | None, typer.Option("--law", help="Law to fit; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to; by default the results folder itself.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Fit the frontier of a sweep, or of any table of runs.

    Example: ninthpower fit runs.csv --cost train_flops --error test_error --law saturating --out fitted

    Example: ninthpower fit http://127.0.0.1:5000#ninthpower/digits
    """
    from experiments.fitting import fit_runs
    from experiments.printing import print_analysis
    from scaling.tracked import runs_source

    with working("fitting and drawing") as progress:
        found = fit_runs(runs_source(runs), cost=cost, error=error, laws=law, out=out, progress=progress)
    if as_json:
        typer.echo((found.folder / "fits.json").read_text(encoding="utf-8"), nl=False)
    else:
        print_analysis(found.analysis, found.folder, make_console())
        _next(f"open {found.analysis.report}")


@app.command()
def report(
    runs: RunsArgument,
    cost: Annotated[str | None, typer.Option(help="Cost column; by default that of the last fit.")] = None,
    error: Annotated[str | None, typer.Option(help="Error column; by default that of the last fit.")] = None,
    law: Annotated[
        list[str] | None, typer.Option("--law", help="Law to show; may be repeated; by default those of the last fit.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to; by default the results folder itself.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the report of a sweep, or of any table of runs, again, as it was fitted last.

    Example: ninthpower report results/digits

    Example: ninthpower report results/digits --cost energy_joules --out by-energy
    """
    from experiments.fitting import fit_runs
    from scaling.tracked import runs_source

    with working("fitting and drawing") as progress:
        analysis = fit_runs(
            runs_source(runs), cost=cost, error=error, laws=law, out=out, as_before=True, progress=progress
        ).analysis
    if as_json:
        typer.echo(
            json.dumps({"report": str(analysis.report), "files": [str(path) for path in analysis.paths]}, indent=1)
        )
    else:
        typer.echo(analysis.report)
        _next(f"open {analysis.report}")
        if out is None and (Path(runs) / "tracking").is_dir():
            _next(f"ninthpower sync {runs}    # puts it into MLflow, over the earlier one")


@app.command()
def runs(
    runs: RunsArgument,
    status: Annotated[str | None, typer.Option(help="Only runs of this status.")] = None,
    sort: Annotated[str, typer.Option(help="Column to sort by.")] = "train_flops",
    limit: Annotated[int, typer.Option(min=1, help="Rows to print.")] = 40,
    columns: Annotated[str | None, typer.Option(help="Columns to print, separated by commas.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the runs of a results folder or a table.

    Example: ninthpower runs results/digits --status diverged --columns width,depth,reason
    """
    from experiments.fitting import select_runs
    from experiments.printing import print_runs
    from scaling.tracked import runs_source

    table = select_runs(runs_source(runs), status=status, sort=sort, columns=columns.split(",") if columns else None)
    if as_json:
        typer.echo(table.to_json(orient="records", indent=1))
    else:
        print_runs(table, limit, make_console())
        _next(shlex.join(["ninthpower", "fit", runs]))


@app.command()
def calibrate(
    runs: Annotated[
        str,
        typer.Argument(
            help="Results, a runs table, runs in MLflow (ADDRESS#EXPERIMENT), or a sweep file (.yaml).",
            show_default=False,
        ),
    ],
    law: Annotated[str, typer.Option(help="Law that is taken for the truth.")] = "saturating",
    truth: Annotated[
        str | None, typer.Option(help="Its parameters, such as E=0.02,A=30,alpha=0.2; by default those fitted.")
    ] = None,
    noise: Annotated[
        float | None, typer.Option(min=0, help="Standard deviation of log error between seeds; by default measured.")
    ] = None,
    sweeps: Annotated[int, typer.Option(min=1, help="Synthetic sweeps to draw.")] = 200,
    data: DataOption = None,
    figures: Annotated[Path | None, typer.Option("--figures", help="Also draw the coverage into this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a design can tell: draw known truth on it, refit, count how often the intervals hold it.

    Before a sweep, on its file, with a truth of your own; after it, on its results.

    Example: ninthpower calibrate results/digits --law power
    """
    from experiments.calibrating import calibrate_design, draw_calibration
    from experiments.printing import print_calibration
    from scaling.tracked import runs_source

    with working(f"drawing and fitting {sweeps} synthetic sweeps") as progress:
        found = calibrate_design(
            runs_source(runs), law=law, truth=truth, noise=noise, n_sweeps=sweeps, data_folder=data, progress=progress
        )
    drawn = draw_calibration(found, figures) if figures else []
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=1))
    else:
        print_calibration(found, make_console())
        for path in drawn:
            typer.echo(path)
        _next(shlex.join(["ninthpower", "sweep" if runs.endswith((".yaml", ".yml")) else "fit", runs]))


@app.command()
def ui(
    results: ResultsOption = RESULTS,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 5000,
) -> None:
    """Open the MLflow UI on this machine's results, for this machine alone.

    Example: ninthpower ui --results results
    """
    from experiments.ui import serve_ui

    serve_ui(results, port)


for command in (compare, literature, project, theory, submit, sync, doctor, init, export, nightly, baseline, reproduce):
    app.command()(command)


def main() -> None:
    """Run the command line: an error of the user's is one sentence and exit code 2.

    So is the code of a fault of the program, with its traceback: 1 is a verdict of `nightly` and `reproduce`. With
    --debug, anywhere on the line, the traceback stands before the sentence; the code is the same.
    """
    debug = "--debug" in sys.argv or bool(os.environ.get("NINTHPOWER_DEBUG"))
    sys.argv[:] = [word for word in sys.argv if word != "--debug"]
    try:
        with _sigterm_as_ctrl_c():
            app()
    except Interrupted:
        typer.echo(f"ninthpower: {STOPPED}", err=True)
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:  # the program's boundary: nothing is swallowed but the code
        said = _refusal(error)
        if debug or said is None:
            traceback.print_exc()
        if said is not None:
            typer.echo(f"ninthpower: {said}", err=True)
        sys.exit(ExitCode.NOT_POSSIBLE)


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Let a command that is told to end do so as after Ctrl-C: it gives back what it holds, ends what it started."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _refusal(error: Exception) -> str | None:
    """What a person is told of an error; None if it is a fault of the program."""
    if isinstance(error, ModuleNotFoundError):
        extra = {"ray": "cluster", "mlflow": "cluster"}.get(str(error.name).split(".")[0], "trial")
        return f"this command needs {error.name}, which is not installed; run: pip install 'ninthpower[{extra}]'"
    if isinstance(error, OSError):
        return refusal_text(error)
    return str(error) if isinstance(error, ValueError | RuntimeError) else None


def _load(path: Path, overrides: list[str] | None) -> Any:
    from experiments.sweep import load_sweep

    return load_sweep(path, overrides or ())


def _this_command() -> str:
    return shlex.join(["ninthpower", *sys.argv[1:]])


def _next(command: str) -> None:
    typer.echo(f"next: {command}")


if __name__ == "__main__":
    main()
