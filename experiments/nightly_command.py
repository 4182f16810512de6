"""The commands `nightly`, `baseline` and `reproduce`: arguments and printing, no logic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from experiments.terminal import make_console, working

SHIPPED_SWEEP = Path(__file__).parent / "sweeps" / "nightly.yaml"
NIGHTS = Path("results") / "nights"
BASELINE = Path("baselines") / "nightly.json"


def nightly(
    sweep: Annotated[Path, typer.Argument(help="Sweep file (YAML); by default the one that ships.")] = SHIPPED_SWEEP,
    baseline: Annotated[Path, typer.Option(help="Baseline to compare with.")] = BASELINE,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the sweep.")
    ] = None,
    nights: Annotated[Path, typer.Option(help="Folder that holds a folder per night: the history.")] = NIGHTS,
    results: Annotated[
        Path | None, typer.Option("--results", help="Judge this results folder of a night, and run nothing.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the night; by default its date and time, UTC.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Folder where data sets are looked for.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Trials side by side; by default all cores.")] = None,
    tracking_uri: Annotated[
        str | None, typer.Option(help="MLflow server; by default a SQLite file beside the nights.")
    ] = None,
    track: Annotated[bool, typer.Option(help="Write the night to MLflow.")] = True,
    false_alarms: Annotated[float, typer.Option(help="Share of nights without a change that may fail.")] = 0.015,
    margin: Annotated[float, typer.Option(min=0, help="Gains nearer to 1 than this make no difference.")] = 0.05,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Run a small sweep and say whether learning has become dearer since the baseline was kept.

    Exit codes: 0 no loss was shown; 1 one was, named; 2 the night cannot be judged.

    Example: ninthpower nightly --baseline baselines/nightly.json
    """
    from experiments.baseline import read_baseline
    from experiments.night_outputs import add_to_step_summary, cannot_judge, markdown, write_night
    from experiments.nightly import judge, nights_before, run_night, track_night
    from experiments.sweep import load_sweep
    from scaling.guard import NightSetting

    console = make_console(stderr=as_json)
    setting = NightSetting(false_alarms=false_alarms, margin=margin)
    try:
        if results is None:
            results = run_night(
                load_sweep(sweep, overrides or ()), nights_folder=nights, data_folder=data, workers=workers,
                tracking_uri=tracking_uri, console=console, quiet=as_json, name=name,
            )  # fmt: skip
        elif nights != NIGHTS and not nights.is_dir():
            raise ValueError(f"there is no folder {nights} of nights; give --nights where they lie, or leave it out")
        typer.echo(f"results  {results}", err=True)
        sweep_name = read_baseline(baseline).sweep
        judged = judge(results, baseline, history=nights_before(nights, tracking_uri, sweep_name), setting=setting)
    except (ValueError, OSError, RuntimeError) as error:
        add_to_step_summary(cannot_judge(str(error)))
        raise
    folder = write_night(judged, results)
    problem = track_night(judged, sweep_name, folder, nights, tracking_uri) if track else ""
    add_to_step_summary(markdown(judged))
    if as_json:
        typer.echo(json.dumps(judged.to_dict(), indent=1))
    else:
        typer.echo(markdown(judged))
        typer.echo(f"files    {folder}")
    if problem:
        typer.echo(problem, err=True)
    raise typer.Exit(judged.exit_code)


def baseline(
    results: Annotated[Path, typer.Argument(help="Results folder of a whole night.", show_default=False)],
    out: Annotated[Path, typer.Option(help="File to write.")] = BASELINE,
) -> None:
    """Keep a night as the baseline that later nights are compared with.

    Example: ninthpower baseline results/nights/20260101-020000/nightly --out baselines/nightly.json
    """
    from experiments.baseline import make_baseline
    from scaling.words import counted

    found = make_baseline(results, out)
    typer.echo(f"{out}: {counted(len(found.trials), 'trial')} of {found.sweep}, {out.stat().st_size / 1024:.0f} KiB")
    typer.echo(f"next: git add {out}, and have it reviewed")


def reproduce(
    results: Annotated[Path, typer.Argument(help="Results folder of a sweep or of a night.", show_default=False)],
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials to run again; by default one of every cell.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Compare with this results folder instead, and run nothing.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of torch; by default as many as the record says.")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Folder where data sets are looked for.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Run trials of a sweep again and say whether they find the same, column by column.

    On a CPU the same code with the same libraries and threads finds the same to the last bit; seconds and joules are
    not compared. What differs is named, and what it was run under that may explain it.

    Exit codes: 0 the same; 1 a column differs; 2 there is nothing to compare.

    Example: ninthpower reproduce results/digits --trials 5
    """
    from experiments.reproducing import compare_results
    from experiments.reproducing import reproduce as run_again
    from scaling.words import counted

    if against is not None:
        if trials is not None or threads is not None:
            raise ValueError("--against compares two folders and runs nothing; leave --trials and --threads away")
        found = compare_results(results, against)
    else:
        with working("running trials again"):
            found = run_again(results, n_trials=trials, threads=threads, data_folder=data)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=1))
    else:
        typer.echo("\n".join([found.sentence, *(f"- {one.sentence}" for one in found.differences), found.explanation]))
        if found.n_left_out:
            typer.echo(
                f"{counted(found.n_left_out, 'trial')} without a counterpart that came to an end: of these nothing is "
                "said."
            )
    raise typer.Exit(found.exit_code)
