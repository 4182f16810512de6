"""The commands around a sweep's beginning and end: init and export. Arguments and printing, no logic."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from experiments.terminal import say_next


class FormatChoice(StrEnum):
    """How an export is written."""

    json = "json"
    csv = "csv"
    parquet = "parquet"
    latex = "latex"


def init(
    out: Annotated[Path, typer.Argument(help="Sweep file to write.")] = Path("sweep.yaml"),
    data: Annotated[
        Path | None, typer.Option("--data", help="Your folder of images: train/CLASS/* and val/CLASS/*.")
    ] = None,
    dataset: Annotated[
        str, typer.Option(help="Instead: the name of a data set, or module:function.", show_default="digits")
    ] = "",
    family: Annotated[str, typer.Option(help="Model family, or module:function of your own.")] = "resnet",
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a commented sweep file for your own data and model, with sizes that suit them.

    Example: ninthpower init mine.yaml --data /data/flowers --family convnext
    """
    from experiments.initialising import Wish, write_sweep_file
    from scaling.words import counted

    info = write_sweep_file(Wish(data, dataset, family), out, replace=force)
    shape = " x ".join(map(str, info.shape))
    typer.echo(
        f"{out}: {counted(info.n_classes, 'class', 'classes')} of {shape}, {counted(info.n_train, 'example')} to train "
        f"on, {info.n_test} to test"
    )
    say_next("ninthpower", "plan", out)


def export(
    runs: Annotated[
        str,
        typer.Argument(
            help="A results folder, a runs table, or runs in MLflow (ADDRESS#EXPERIMENT), once fitted.",
            show_default=False,
        ),
    ],
    form: Annotated[FormatChoice, typer.Option("--format", help="One json, or a file per table.")] = FormatChoice.json,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to; by default `export` in the results folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the paths as JSON.")] = False,
) -> None:
    """Write runs, frontier and laws for a paper or another program.

    The JSON keeps to docs/schemas/export-1.json; LaTeX needs the package booktabs.

    Example: ninthpower export results/digits --format latex --out paper/tables
    """
    from experiments.exporting import Format, export_runs
    from scaling.tracked import runs_source

    paths = [str(path) for path in export_runs(runs_source(runs), Format(form.value), out)]
    typer.echo(json.dumps(paths, indent=1) if as_json else "\n".join(paths))
    if not as_json:
        say_next("open", paths[0])
