"""The command `ninthpower compare`: arguments and printing, no logic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.terminal import make_console, say_next, working

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.comparing import Compared

RunsArguments = Annotated[
    list[str],
    typer.Argument(
        help="Results folders, tables of runs (.csv, .parquet), or runs in MLflow (ADDRESS#EXPERIMENT).",
        show_default=False,
    ),
]


def compare(
    runs: RunsArguments,
    baseline: Annotated[str, typer.Option(help="Technique that the others are compared with.")] = "baseline",
    technique: Annotated[
        list[str] | None, typer.Option("--technique", help="Technique to compare; may be repeated; by default all.")
    ] = None,
    cost: Annotated[
        list[str] | None,
        typer.Option(
            "--cost",
            help="train_flops, inference_flops, inference_seconds, energy_joules, carbon_grams, "
            "money, n_params, model_bytes, lifetime, lifetime_joules or sparse_...; may be repeated; by "
            "default all that are known.",
        ),
    ] = None,
    error: Annotated[str | None, typer.Option(help="Error column; by default the sweep's, or test_error.")] = None,
    where: Annotated[
        list[str] | None, typer.Option("--where", metavar="KEY=VALUE", help="Only runs like this (dataset=digits).")
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option("--by", help="Option whose every value is a technique of its own (density).")
    ] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option("--leave-out", metavar="PHASE", help="Phase not charged; may be repeated.")
    ] = None,
    spread: Annotated[
        list[str] | None, typer.Option("--spread", metavar="PHASE=USES", help="Phase shared by so many uses.")
    ] = None,
    uses: Annotated[float | None, typer.Option(min=0, help="Inferences in a lifetime.")] = None,
    price_per_hour: Annotated[float | None, typer.Option(min=0, help="Of the machine share of a trial.")] = None,
    price_per_kwh: Annotated[float | None, typer.Option(min=0, help="Of electricity.")] = None,
    budget: Annotated[
        list[float] | None, typer.Option("--budget", help="Cost at which the gain is read; may be repeated.")
    ] = None,
    margin: Annotated[float, typer.Option(min=0, help="Gains nearer to 1 than this make no difference.")] = 0.05,
    bend_margin: Annotated[
        float, typer.Option(min=0, help="Share of the baseline's exponent within which a frontier does not bend.")
    ] = 0.25,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    law: Annotated[str, typer.Option(help="automatic, power or saturating.")] = "automatic",
    resamples: Annotated[int, typer.Option(min=20, help="Refits behind each interval.")] = 1000,
    unpaired: Annotated[bool, typer.Option("--unpaired", help="The arms have no cells in common.")] = False,
    break_even: Annotated[bool, typer.Option(help="Find from how many uses on a technique pays.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder to write to.")] = None,
    tracking_uri: Annotated[
        str | None, typer.Option(help="MLflow server; by default the store that the results are in, if any.")
    ] = None,
    track: Annotated[bool, typer.Option(help="Write the comparison to MLflow.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Say which technique shifts the frontier, on which cost, by what factor, and when it pays.

    Example: ninthpower compare results/techniques --cost train_flops --cost inference_flops
    """
    from experiments.comparing import compare_runs, read_pairs, read_spread
    from scaling.compare import Charges, Setting
    from scaling.tracked import runs_source

    with working("fitting pairs of frontiers") as progress:
        found = compare_runs(
            [runs_source(one) for one in runs],
            baseline=baseline,
            techniques=technique,
            costs=cost,
            by=by or (),
            where=read_pairs(where or (), "--where"),
            error=error,
            charges=Charges(tuple(leave_out or ()), read_spread(spread or ()), uses, price_per_hour, price_per_kwh),
            setting=Setting(
                level=level, margin=margin, bend_margin=bend_margin, law=law, n_resamples=resamples,
                paired=not unpaired, budgets=tuple(budget or ()),
            ),
            with_break_even=break_even,
            out=out,
            tracking_uri=tracking_uri,
            track=track,
            progress=progress,
        )  # fmt: skip
    if as_json:
        typer.echo((found.folder / "comparison.json").read_text(encoding="utf-8"), nl=False)
    else:
        print_comparison(found, make_console())
    if found.problem:
        typer.echo(found.problem, err=True)
    if not as_json:
        # A report of the same results shows the comparison that lies beside them.
        beside = len(runs) == 1 and found.folder.name == "comparison"
        say_next(*(["ninthpower", "report", runs[0]] if beside else ["open", found.folder / "figures" / "gains.png"]))


def print_comparison(found: Compared, console: Console) -> None:
    """Print the table of gains, the answer in words and where everything lies."""
    from experiments.printing import print_frame

    comparison = found.comparison
    level = f"{comparison.setting.level:.0%}"
    print_frame(
        comparison.overview,
        f"gain over {comparison.baseline} in {comparison.setting.error}, {level} intervals",
        console,
    )
    console.print(comparison.marks)
    if comparison.setting.budgets:
        print_frame(comparison.budgets_table, f"gain at the budgets asked for, {level} intervals", console)
    for sentence in comparison.sentences:
        console.print(sentence)
    for note in comparison.notes:
        console.print(note)
    console.print(f"table    {found.folder / 'comparison.csv'}\njson     {found.folder / 'comparison.json'}")
    console.print(f"figures  {found.folder / 'figures'}")
