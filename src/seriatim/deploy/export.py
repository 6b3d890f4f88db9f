"""Export a run: write the graphs, measure how far scores move, and keep the files only where they hardly do."""

from __future__ import annotations

import copy
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seriatim import __version__
from seriatim.deploy.graphs import write_encoder, write_sequence
from seriatim.deploy.parity import AnyModel, compare_lengths, compare_validation
from seriatim.deploy.pictures import gather_calibration, make_pictures, read_validation, spread
from seriatim.deploy.quantise import quantise_encoder
from seriatim.errors import ModelError, OutputError
from seriatim.io.tables.outputs import make_folder, write_json
from seriatim.tasks.predict import embed_series
from seriatim.trained import Model
from seriatim.trained.backends import Compute
from seriatim.trained.backends.choice import version_of
from seriatim.trained.backends.exported import FORMAT, REPORT, digest_files, folder_of, write_shift
from seriatim.trained.backends.use import Files, back_encoder, back_network, gives_of

TOLERANCE = {"fp32": 1e-4, "bf16": 5e-3, "int8": 5e-3}
"""How far a probability, an attention weight or a slice's score may move."""
CERTAIN = 1e-3
"""Where all probabilities are nearer to 0 or 1 than this, they hardly move whatever the network says."""
PICTURES = 32
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is exported of which model, with the calibration slices (N,C,H,W) of how many training series."""

    model: AnyModel
    compute: Compute
    calibration: Tensor
    series: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C,H,W) of a slice."""
        _, channels, rows, columns = self.calibration.shape
        return channels, rows, columns


def export_run(model: AnyModel, compute: Compute, *, tolerance: float | None = None) -> Mapping[str, Any]:
    """Export a model beside its run, for what ``compute`` says, and return the report that is kept with it.

    The files are RUN/exported/BACKEND/PRECISION: the graphs (none for torch), ``shift.safetensors`` and
    ``report.json``. Where an export was there already, it stays until the new one has passed.

    Args:
        model: as ``load_model`` or ``load_anomaly_model`` made it, on the CPU.
        compute: as of ``choose_compute``.
        tolerance: how far scores may move, where not 1e-4 in fp32 and 5e-3 in lower precision.

    Raises:
        ConfigError: a library is not installed, or the processor lacks the precision.
        ModelError: the network cannot be exported, scores move too far, or a lower precision is asked for and no
            picture of the run's manifest can be read.
        OutputError: the run folder cannot be written.
    """
    if not compute.needs_export:
        raise ModelError("torch in fp32 scores with the run itself. Export to onnx or openvino, or in bf16.")
    calibration, series = gather_calibration(model)
    if compute.precision != "fp32" and not series:
        raise ModelError(
            f"{compute.precision} is calibrated on pictures the run learnt from, and no series of "
            f"{model.path / 'manifest.csv'} can be read here. Export where they are, or in fp32."
        )
    order = Order(model=model, compute=compute, calibration=calibration, series=series)
    target = folder_of(model.path, compute.backend, compute.precision)
    partial = make_folder(target.with_name(f".{target.name}.{os.getpid()}.partial"))
    try:
        report = _export_into(partial, order, tolerance=tolerance or TOLERANCE[compute.precision])
        _put_in_place(partial, target)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror}. Free space, or copy the run.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return report


def _export_into(folder: Path, order: Order, *, tolerance: float) -> Mapping[str, Any]:
    model, compute = order.model, order.compute
    if compute.backend != "torch":
        _write_graphs(folder, order)
    shift = torch.zeros(model.network.encoder.embedding_size)
    if compute.precision != "fp32":
        shift = _measure_shift(order, _back(model, Files(folder=folder, shift=shift, compute=compute)))
    write_shift(folder, shift)
    candidate = _back(model, Files(folder=folder, shift=shift, compute=compute))
    report = _check(order, candidate, tolerance=tolerance) | {"files": digest_files(folder)}
    if not report["parity"]["passed"]:
        refused = folder_of(model.path, compute.backend, compute.precision).with_suffix(".refused.json")
        write_json(refused, report)
        raise ModelError(_tell_failure(report, refused))
    write_json(folder / REPORT, report)
    return report


def _write_graphs(folder: Path, order: Order) -> None:
    """The graphs, as files of the backend."""
    network = order.model.network
    encoder, sequence = folder / "encoder.onnx", folder / "sequence.onnx"
    write_encoder(network, encoder, gives=gives_of(network), shape=order.shape)
    if order.compute.precision == "int8":
        quantise_encoder(encoder, order.calibration)
    if isinstance(order.model, Model):
        write_sequence(order.model.network, sequence)
    if order.compute.backend == "openvino":
        from seriatim.trained.backends.openvino import convert_onnx

        for path in (encoder, sequence):
            if path.is_file():
                convert_onnx(path)
                path.unlink()


def _back(model: AnyModel, files: Files) -> AnyModel:
    """The model, computed by files that nobody has checked yet."""
    preprocessing = model.experiment.preprocessing
    if isinstance(model, Model):
        return replace(model, backed=back_network(model.network, files, preprocessing), compute=files.compute)
    network = copy.deepcopy(model.network)
    network.encoder = back_encoder(model.network, files, preprocessing)
    return replace(model, network=network, compute=files.compute)


def _measure_shift(order: Order, candidate: AnyModel) -> Tensor:
    """What lower precision takes from the embeddings in the mean over training's slices (E,)."""
    if gives_of(order.model.network) == "maps":
        return torch.zeros(order.model.network.encoder.embedding_size)  # detectors read maps, which have no shift
    network = candidate.backed if isinstance(candidate, Model) else candidate.network
    assert network is not None
    exact, found = (embed_series(one, order.calibration).double() for one in (order.model.network, network))
    return (exact.mean(dim=0) - found.mean(dim=0)).float()


def _check(order: Order, candidate: AnyModel, *, tolerance: float) -> dict[str, Any]:
    """The report: how far scores move on series of random lengths and on the validation split."""
    real = spread(order.calibration, PICTURES)
    pictures = torch.cat([real, make_pictures(PICTURES - len(real), order.shape)]) if len(real) < PICTURES else real
    seen, lengths = compare_lengths(order.model, candidate, pictures)
    validation = compare_validation(order.model, candidate, read_validation(order.model))
    worst = max(seen.worst, *validation.get("largest_difference", {"": 0.0}).values())
    compute = order.compute
    return {
        "format": FORMAT,
        "backend": compute.backend,
        "precision": compute.precision,
        "device": compute.device,
        "model_digest": order.model.digest,
        "input": {"slice": list(order.shape), "slices_at_a_time": order.model.network.chunk_size,
                  "gives": gives_of(order.model.network)},
        "parity": {
            "passed": worst <= tolerance, "tolerance": tolerance, **seen.describe(),
            "lengths": lengths, "pictures_of_training": len(real), "pictures_made": len(pictures) - len(real),
        },
        "validation": validation,
        "calibration": {"slices": len(order.calibration), "series": order.series},
        "versions": {"seriatim": __version__, compute.backend: version_of(compute.backend), "torch": torch.__version__},
    }


def largest_moves(report: Mapping[str, Any]) -> dict[str, float]:
    """The largest difference of each output that an export's report tells: of parity and of validation together."""
    parity, validation = report["parity"]["largest_difference"], report["validation"].get("largest_difference", {})
    names = dict.fromkeys([*parity, *validation])
    return {name: max(parity.get(name, 0.0), validation.get(name, 0.0)) for name in names}


def largest_logit_move(report: Mapping[str, Any]) -> float | None:
    """The largest difference of a logit that an export's report tells; None where the model gives none."""
    return _largest_of(report, "largest_logit_difference")


def find_doubt(report: Mapping[str, Any]) -> str:
    """Why an export that passed says little, in words; "" where it says what it seems to."""
    certain = _largest_of(report, "least_certain")
    if certain is None or certain >= CERTAIN:
        return ""
    return (
        f"All probabilities that were compared lie within {CERTAIN:g} of 0 or 1, where they hardly move: that scores "
        "agree says little. See by how much logits move, and train again if the model is this certain of all it sees."
    )


def _largest_of(report: Mapping[str, Any], name: str) -> float | None:
    told = [report[part].get(name) for part in ("parity", "validation")]
    return max((value for value in told if value is not None), default=None)


def _tell_failure(report: Mapping[str, Any], refused: Path) -> str:
    moved = ", ".join(f"{name} by {value:.2g}" for name, value in largest_moves(report).items())
    repair = "Accept" if report["precision"] == "fp32" else "Export in fp32, or accept"
    return (
        f"Not exported: with {report['backend']} in {report['precision']} scores move too far ({moved}; allowed is "
        f"{report['parity']['tolerance']:g}). {refused} has the figures. {repair} it with --tolerance."
    )


def _put_in_place(partial: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    if target.exists():
        target.replace(old)
    partial.replace(target)
    shutil.rmtree(old, ignore_errors=True)
