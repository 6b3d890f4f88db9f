"""seriatim score."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from seriatim.cli.dicom_results import Option, open_results, tell_results
from seriatim.cli.exits import Exit, exit_for

TOGETHER = (
    ("--cluster", ("--workers", "--memory"),
     "on a cluster a task decodes and scores each series, as docs/cluster.md says"),
    ("--dry-run", ("--dicom-results", "--watch", "--cluster"),
     "a dry run looks once, tries a few series in this process, and writes no results"),
)
"""Options that do not go together, and why."""
MOST_GIB = 1 << 20


def run(
    path: Annotated[Path, typer.Argument(help="A folder to search through, a file or a ZIP.", show_default=False)],
    model: Annotated[
        list[Path],
        typer.Option(
            help="The run folder of a trained model, or the folder of a crossval; of several (repeatable) the mean.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option(help="The folder for the tables; what is done in it is not done again.", show_default=False)
    ],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    backend: Annotated[
        Literal["torch", "onnx", "openvino"],
        typer.Option(help="What computes; all but torch need `seriatim export` first."),
    ] = "torch",
    precision: Annotated[
        Literal["fp32", "bf16", "int8"],
        typer.Option(help="Of the encoder; all but fp32 need `seriatim export` first, which measures what it changes."),
    ] = "fp32",
    cuda_graphs: Annotated[
        bool, typer.Option("--cuda-graphs", help="On CUDA: record the encoder once and replay it; for small encoders.")
    ] = False,
    split: Annotated[str | None, typer.Option(help="Only this split of the model's run: train, val or test.")] = None,
    on: Annotated[
        list[str] | None, typer.Option(metavar="CODE=ACTION", help="What to do on a finding: GAP=keep; repeatable.")
    ] = None,
    outside: Annotated[
        Literal["refuse", "note"] | None,
        typer.Option(help="Series unlike those of training: refuse, or score and note; else as the model was trained."),
    ] = None,
    dicom_results: Option = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that decode; else one for each core, fewer for little.")
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(metavar="GIB", help="About how much the series take that are worked on at once; else a quarter of "
                     "the machine's or the container's."),
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", metavar="LIST", help="Of the tables: csv, jsonl, parquet, with commas.")
    ] = "csv",
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write run.json here too.")] = None,
    seconds: Annotated[
        bool, typer.Option("--seconds/--no-seconds", help="The time of each series; none, to compare files.")
    ] = True,
    check: Annotated[
        Literal["times", "content"],
        typer.Option(help="A changed input is known by the times and sizes of its files, or by all their bytes."),
    ] = "times",
    gone: Annotated[
        Literal["drop", "keep"] | None,
        typer.Option(help="Results whose files are gone: drop them from the tables, or (as --watch does) keep them."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list every series with what would become of it, and what it costs.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on, and score what arrives, until Ctrl-C or SIGTERM.")
    ] = False,
    settle: Annotated[
        float, typer.Option(metavar="SECONDS", help="With --watch: unchanged for so long, a series is complete.", min=1)
    ] = 10.0,
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS|local", help="Score on the nodes of a Ray cluster: docs/cluster.md.")
    ] = None,
) -> None:
    """Score every series below a path: scores.csv, slices.csv, skipped.csv and run.json.

    Several models (`--model A --model B`, or all folds of a crossval) are averaged, and their disagreement is a column.
    A 4D series is read as volumes or as frames over time, as the model was trained (`data.sequence`).
    A run that was stopped or killed goes on with the same command; `seriatim status OUTPUT` tells how far it is.
    Ctrl-C or SIGTERM finishes the series in hand and writes the tables of what is done; a second one stops at once.

    Exit code: 0 all series scored, 8 some, 3 none, 2 bad arguments, 130 or 143 stopped before the end.

    Example: `seriatim score studies/ --model runs/demo --output scores/`
    """
    from seriatim.cli.score_bar import ScoreBar
    from seriatim.cli.signals import Signals
    from seriatim.io.tables.outputs import write_json
    from seriatim.scoring import score, watch_folder
    from seriatim.scoring.cluster import Cluster
    from seriatim.scoring.options import Options
    from seriatim.scoring.pipeline import Resources
    from seriatim.scoring.pipeline_costs import Costs
    from seriatim.scoring.sinks import parse_formats
    from seriatim.series.findings import parse_actions
    from seriatim.trained import load_scorer

    _check_combination(asked_for={
        "--workers": workers is not None, "--memory": memory is not None, "--cluster": cluster is not None,
        "--watch": watch, "--dry-run": dry_run, "--dicom-results": dicom_results is not None,
    })
    _check_report(report)
    options = Options(formats=parse_formats(formats), seconds=seconds, check=check,
                      gone=gone or ("keep" if watch else "drop"),
                      cluster=None if cluster is None else Cluster(address=cluster),
                      resources=Resources(workers=workers, memory_bytes=_in_bytes(memory)), costs=(costs := Costs()))
    actions = parse_actions(on or ())
    scorer = load_scorer(model, device=device, backend=backend, precision=precision, cuda_graphs=cuda_graphs)
    asked: dict[str, Any] = {"model": scorer, "actions": actions, "outside": outside,
                             "only": scorer.find_split(split) if split else None}
    typer.echo(f"Computing with {scorer.compute.line}.", err=True)
    if dry_run:
        raise typer.Exit(_plan(path, output, report, asked))
    results = open_results(dicom_results, model=scorer.with_outside(outside), searched=path)
    with Signals() as signals, ScoreBar(costs, stopping=signals.asked) as bar:
        signals.told_elsewhere = bar.is_live
        asked |= {"output": output, "report": bar.report, "options": options, "stop": signals.asked,
                  "keep": None if results is None else results.add}
        summary = watch_folder(path, settle_s=settle, **asked) if watch else score(path, **asked)
    if report is not None:
        write_json(report, summary)
    code = _tell(summary, output)
    tell_results(dicom_results, results)
    raise typer.Exit(signals.code or code if summary["ended"] == "stopped" else code)


def _in_bytes(gib: float | None) -> int | None:
    """As bytes. Raises ConfigError where it is not above 0."""
    from seriatim.errors import ConfigError

    if gib is not None and not 0 < gib < MOST_GIB:
        raise ConfigError(f"--memory {gib:g} is no amount of memory. Give GiB above 0, for example 4.")
    return None if gib is None else max(1, int(gib * (1 << 30)))


def _check_report(report: Path | None) -> None:
    """Raise ConfigError where run.json could not be written there: told now, not after a night's work."""
    from seriatim.errors import ConfigError

    if report is not None and (report.is_dir() or not report.absolute().parent.is_dir()):
        raise ConfigError(f"--report {report} cannot be written: it is a folder, or in none. Give a file in a folder "
                          "that is there.")


def _check_combination(asked_for: Mapping[str, bool]) -> None:
    """Raise ConfigError where two options are asked for of which one would do nothing."""
    from seriatim.errors import ConfigError

    for first, others, why in TOGETHER:
        for other in others:
            if asked_for[first] and asked_for[other]:
                raise ConfigError(f"{first} and {other} do not go together: {why}. Leave one of them away.")


def _tell(summary: dict[str, Any], output: Path) -> Exit:
    """Say how it ended; the exit code of a run that came to its end."""
    from seriatim.errors import printable

    counts, place = summary["counts"], printable(str(output))
    left = f", {summary['pending']} left" if summary["pending"] else ""
    typer.echo(
        f"{counts['scored']} scored, {counts['refused']} refused, {counts['failed']} failed{left} "
        f"of {counts['discovered']} series ({counts['not_asked_for']} not asked for, "
        f"{counts['files_skipped']} files skipped): {place}"
    )
    done = sum(counts[status] for status in ("scored", "refused", "failed"))
    if summary["scored_now"] < done:
        typer.echo(f"{done - summary['scored_now']} were done before, and are as they were.")
    code = exit_for(used=counts["scored"], asked=counts["discovered"] - counts["not_asked_for"])
    if summary["pending"]:
        typer.echo("It was stopped; the same command goes on from here.", err=True)
    elif not counts["discovered"]:
        typer.echo("No series was found. Give the folder, file or ZIP that holds the images; the table skipped in "
                   f"{place} says of each file why it is none.", err=True)
    elif code is not Exit.ALL:
        typer.echo(f"The table scores in {place} says why for each series, skipped for each file.", err=True)
    return code


def _plan(path: Path, output: Path, report: Path | None, asked: dict[str, Any]) -> Exit:
    """Tell what would become of every series, and what it would cost."""
    from seriatim.errors import printable
    from seriatim.io.tables.outputs import write_json
    from seriatim.scoring.plan import describe_plan, make_plan

    plan = make_plan(path, output=output, **asked)
    for line in describe_plan(plan):
        typer.echo(printable(line))
    if report is not None:
        write_json(report, plan.as_dict())
    return exit_for(used=sum(not one.reason for one in plan.series), asked=len(plan.series))
