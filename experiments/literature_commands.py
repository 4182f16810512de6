"""The commands about published results: literature, project, theory. Arguments and printing, no logic."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.terminal import say_next, working

if TYPE_CHECKING:
    from experiments.answer import Answer

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
PublishedOption = Annotated[
    bool, typer.Option("--as-published", help="The study's own methods, constants and numbers.")
]
FiguresOption = Annotated[
    Path | None, typer.Option("--figures", help="Also draw the figures, with their numbers as csv, into this folder.")
]


class MeasureChoice(StrEnum):
    """Which computation results are placed by."""

    burden = "burden"
    per_pass = "per-pass"


class CoefficientsChoice(StrEnum):
    """How large the relevant coefficients are."""

    equal = "equal"
    normal = "normal"


def literature(
    source: Annotated[str, typer.Argument(help="`published`, `torchvision`, or a csv of your own.")] = "published",
    published: PublishedOption = False,
    measure: Annotated[MeasureChoice | None, typer.Option(help="Computation; by default what the source has.")] = None,
    benchmark: Annotated[list[str] | None, typer.Option(help="Benchmark; may be repeated.")] = None,
    law: Annotated[list[str] | None, typer.Option(help="Law of the fit engine; may be repeated.")] = None,
    runs: Annotated[list[str] | None, typer.Option(help="Your runs, to stand beside; may be repeated.")] = None,
    show_rows: Annotated[bool, typer.Option("--rows", help="Only list the results and their papers.")] = False,
    figures: FiguresOption = None,
    as_json: JsonOption = False,
) -> None:
    """Regress published results on their computation, as published and beyond.

    Example: ninthpower literature --benchmark ImageNet --runs results/digits
    """
    from experiments import literature_study
    from scaling.tracked import runs_source

    table = literature_study.read_source(source)
    sources = [runs_source(one) for one in runs or ()]
    if show_rows:
        answer = literature_study.listing(table)
    elif published:
        if source != "published" or measure or benchmark or law or runs:
            raise ValueError("--as-published takes the study's own results, measures and laws; leave the others out")
        answer = literature_study.as_published(table)
    else:
        with working("resampling papers and fitting laws") as progress:
            answer = literature_study.beyond(
                table, measure=measure.value if measure else None, names=benchmark or (),
                laws=law or literature_study.LAWS, runs=sources, progress=progress,
            )  # fmt: skip
    _say(answer, as_json)
    if figures:
        with working("simulating Figure 1 and drawing") as progress:
            drawn = literature_study.draw_figures(source, table, figures, sources, progress=progress)
        _drawn(drawn, as_json)
    if not as_json:
        own_source = [source] if source != "published" else []
        if show_rows or published:
            say_next("ninthpower", "literature", *own_source)
        elif measure != MeasureChoice.per_pass and source != "torchvision":
            named = [option for one in (benchmark or ())[:1] for option in ("--benchmark", one)]
            say_next("ninthpower", "project", *named, *(["--source", source] if own_source else []))
        else:
            say_next("ninthpower", "literature", "--as-published")


def project(
    runs: Annotated[
        str | None,
        typer.Argument(
            help="A results folder, a runs table, or runs in MLflow (ADDRESS#EXPERIMENT); by default published results."
        ),
    ] = None,
    target: Annotated[list[float] | None, typer.Option(help="Error to reach, a fraction; may be repeated.")] = None,
    law: Annotated[str, typer.Option(help="Law that is projected.")] = "power",
    benchmark: Annotated[str, typer.Option(help="Benchmark of the published results.")] = "ImageNet",
    source: Annotated[str, typer.Option(help="`published` or a csv of your own.")] = "published",
    cost: Annotated[str | None, typer.Option(help="Cost column of your runs, in FLOP.")] = None,
    error: Annotated[str | None, typer.Option(help="Error column of your runs.")] = None,
    flops_per_param_example: Annotated[
        float | None, typer.Option(help="For laws in size and data: FLOP per parameter and example.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device the computing is bought on.")] = "V100",
    region: Annotated[str, typer.Option(help="Where the electricity comes from.")] = "World",
    utilisation: Annotated[float | None, typer.Option(help="Share of the peak rate reached.")] = None,
    pue: Annotated[float | None, typer.Option(help="Power of the building over that of its computers.")] = None,
    year: Annotated[float | None, typer.Option(help="Year of the purchase.")] = None,
    price_halving: Annotated[float | None, typer.Option(help="Years in which the price of a FLOP halves.")] = None,
    efficiency_doubling: Annotated[float | None, typer.Option(help="Years in which FLOP per joule double.")] = None,
    grid_trend: Annotated[
        str | None, typer.Option(help="Share by which the grid's carbon falls a year, or `own` for the region's.")
    ] = None,
    level: Annotated[float, typer.Option(help="Probability of the intervals, such as 0.68.")] = 0.95,
    growth: Annotated[
        float | None, typer.Option(help="Growth of computation a year, for the years until then.")
    ] = None,
    published: PublishedOption = False,
    history: Annotated[bool, typer.Option("--history", help="How computation grew, and from what.")] = False,
    as_json: JsonOption = False,
) -> None:
    """What an error target costs by a fitted law: FLOP, device-hours, energy, CO2 and money, with intervals.

    Example: ninthpower project results/digits --target 0.01 --device H100 --region France
    """
    from experiments import projection_study
    from scaling.tracked import runs_source

    bill = projection_study.Bill(device, region, utilisation, pue, year, price_halving, efficiency_doubling, grid_trend)
    if published or history:
        if runs or target or (published and history):
            raise ValueError("--as-published and --history stand alone; leave the other, runs and targets out")
        answer = projection_study.as_published() if published else projection_study.history()
    elif runs is None:
        with working("fitting and resampling"):
            answer = projection_study.project_literature(
                benchmark, source, law, target or (), bill, growth, level=level
            )
    else:
        with working("fitting and resampling"):
            answer = projection_study.project_runs(
                runs_source(runs), law, target or (), bill, growth, cost=cost, error=error,
                flops_per_param_example=flops_per_param_example, level=level,
            )  # fmt: skip
    _say(answer, as_json)
    if not as_json:
        say_next("ninthpower", *(["project"] if published or history else ["theory", *([runs] if runs else [])]))


def theory(
    runs: Annotated[
        str | None, typer.Argument(help="Runs whose exponents are set beside theory's; else Figure 1.")
    ] = None,
    law: Annotated[
        list[str] | None, typer.Option(help="Law in size and data fitted to the sweep; may be repeated.")
    ] = None,
    error: Annotated[str | None, typer.Option(help="Error column of the sweep.")] = None,
    simulations: Annotated[int, typer.Option(min=2, help="Simulations a case.")] = 1000,
    noise: Annotated[float, typer.Option(help="Standard deviation of the noise; a coefficient is about 1.")] = 1.0,
    penalty: Annotated[float, typer.Option(help="Of the Lasso, in noise sqrt(log d / n).")] = 2.0,
    coefficients: Annotated[
        CoefficientsChoice, typer.Option(help="Coefficients that matter: all 1, or normal.")
    ] = CoefficientsChoice.equal,
    features: Annotated[int, typer.Option(min=20, help="Candidate features.")] = 1000,
    relevant: Annotated[int, typer.Option(min=2, help="Features that matter.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulations.")] = 0,
    figures: FiguresOption = None,
    as_json: JsonOption = False,
) -> None:
    """Figure 1: what oracle, expert, flexible and regularised models need; or a sweep's exponents beside 4 and 9.

    Example: ninthpower theory --noise 0.5 --coefficients normal
    """
    from experiments import theory_study
    from scaling.tracked import runs_source

    if runs is not None:
        if figures:
            raise ValueError("--figures draws Figure 1; leave the sweep out")
        with working("fitting and resampling") as progress:
            answer = theory_study.answer_sweep(
                runs_source(runs), laws=law or theory_study.SURFACES, error=error, progress=progress
            )
        _say(answer, as_json)
        if not as_json:
            say_next("ninthpower", "project", runs)
        return
    from scaling.learners import Task

    task = Task(features, relevant, noise, coefficients.value)
    with working(f"simulating {simulations} data sets a case") as progress:
        answer, study = theory_study.answer_figure_one(
            task, penalty=penalty, n_simulations=simulations, seed=seed, progress=progress
        )
    _say(answer, as_json)
    if figures:
        from scaling.literature.figures import draw_figure_one

        _drawn(draw_figure_one(study, figures), as_json)
    if not as_json:
        say_next("ninthpower", "literature")


def _say(answer: Answer, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer.to_dict(), indent=1, allow_nan=False))
        return
    from experiments.printing import print_frame
    from experiments.terminal import make_console

    console = make_console()
    for title, frame in answer.tables.items():
        print_frame(frame, title, console)
    for sentence in answer.sentences:
        console.print(sentence, markup=False)


def _drawn(paths: list[Path], as_json: bool) -> None:
    for path in paths:
        typer.echo(str(path), err=as_json)
