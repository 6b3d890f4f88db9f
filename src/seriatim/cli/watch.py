"""``seriatim watch``: score frames as they come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seriatim.cli.exits import exit_for

if TYPE_CHECKING:
    from seriatim.scoring.live_frames import LiveFrame
    from seriatim.trained import AnomalyModel


def run(
    source: Annotated[
        str, typer.Argument(help="A folder that grows, a video or other file, or - for standard input.",
                            show_default=False)
    ],
    model: Annotated[Path, typer.Option(help="The run folder of an anomaly model.", show_default=False)],
    output: Annotated[Path | None, typer.Option(help="File for the JSON lines; else standard output.")] = None,
    order: Annotated[
        Literal["name", "time"], typer.Option(help="The order of the files of a folder: names, or times of change.")
    ] = "name",
    until_idle: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="End when no file came to the folder for so long.", min=0)
    ] = None,
    pace: Annotated[
        bool, typer.Option("--pace/--no-pace", help="A file at its own pace, or as fast as it goes.")
    ] = True,
    size: Annotated[
        str | None, typer.Option(metavar="COLUMNSxROWS", help="Of raw frames from standard input, for example 640x480.")
    ] = None,
    pixels: Annotated[
        Literal["gray", "rgb24"], typer.Option(help="Of raw frames: 1 byte per pixel or 3, as ffmpeg names them.")
    ] = "gray",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    backend: Annotated[str, typer.Option(help="What computes the encoder: torch, or an exported onnx or openvino.")] = (
        "torch"
    ),
    precision: Annotated[str, typer.Option(help="Of the encoder: fp32, bf16 or int8.")] = "fp32",
) -> None:
    """Score frames as they come: a JSON line for each, and for each event that ended; Ctrl-C ends with a summary.

    The scores are those of `seriatim score` about the same frames, bit for bit. Its methods must all be causal.
    Raw frames: `ffmpeg -i CAMERA -f rawvideo -pix_fmt gray - | seriatim watch - --size 640x480 --model RUN`

    Exit code: 0 all frames scored, 8 some, 3 none, 2 bad arguments.

    Example: `seriatim watch incoming/ --model runs/normal --until-idle 30`
    """
    import contextlib
    import json
    import sys

    from seriatim.errors import OutputError
    from seriatim.scoring.watch import watch
    from seriatim.trained.anomaly import load_anomaly_model
    from seriatim.trained.backends import choose_compute

    compute = choose_compute(backend=backend, precision=precision, device=device)
    loaded = load_anomaly_model(model, device=compute.home).with_compute(compute)
    frames = _open_source(source, model=loaded, order=order, until_idle=until_idle, pace=pace, size=size, pixels=pixels)
    try:
        with contextlib.ExitStack() as stack:
            file = sys.stdout if output is None else stack.enter_context(output.open("w", encoding="utf-8"))

            def write(record: dict[str, object]) -> None:
                file.write(json.dumps(record, allow_nan=False) + "\n")
                file.flush()

            used, came = watch(frames, model=loaded, write=write)
    except OSError as error:
        raise OutputError(f"The lines cannot be written: {error.strerror}. Give another --output.") from error
    raise typer.Exit(exit_for(used=used, asked=came))


def _open_source(
    source: str, *, model: AnomalyModel, order: Literal["name", "time"], until_idle: float | None, pace: bool,
    size: str | None, pixels: Literal["gray", "rgb24"],
) -> Iterator[LiveFrame]:
    import sys

    from seriatim.errors import InputError
    from seriatim.scoring.live_frames import follow_folder, read_raw, replay_file

    path = Path(source)
    if source == "-":
        columns, rows = _read_size(size)
        return read_raw(sys.stdin.buffer, columns=columns, rows=rows, pixels=pixels)
    if path.is_dir():
        return follow_folder(path, order=order, until_idle_s=until_idle, limits=model.limits)
    if not path.exists():
        raise InputError(f"There is nothing at {path}. Give a folder, a file, or - for standard input.")
    return replay_file(path, pace=pace, limits=model.limits, sequence=model.experiment.data.sequence)


def _read_size(size: str | None) -> tuple[int, int]:
    from seriatim.errors import ConfigError

    columns, _, rows = (size or "").partition("x")
    if not (columns.isdecimal() and rows.isdecimal() and 0 < int(columns) <= 16384 and 0 < int(rows) <= 16384):
        raise ConfigError(f"Raw frames need --size COLUMNSxROWS, for example 640x480, not {size!r}.")
    return int(columns), int(rows)
