"""Put what was exported in the place of torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from seriatim.errors import ConfigError
from seriatim.models.detectors.network import AnomalyNetwork
from seriatim.models.encoder import Encoder
from seriatim.models.network import SequenceNetwork
from seriatim.trained.backends.choice import Compute
from seriatim.trained.backends.exported import GRAPHS, Exported, read_export
from seriatim.trained.backends.network import BackedNetwork, ExportedEncoder, Gives, ReducedEncoder
from seriatim.trained.backends.session import Session
from seriatim.transforms import PreprocessingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Graphs in a folder and the shift that belongs to them, whether they are checked already or not."""

    folder: Path
    shift: Tensor
    compute: Compute


def read_files_of(run: Path, digest: str, compute: Compute) -> tuple[Files, Compute]:
    """The exported files of a run, and the compute with their digests. Raises ModelError as ``read_export``."""
    found: Exported = read_export(run, digest, compute)
    tolerance = float(found.report["parity"]["tolerance"])
    known = replace(compute, export=found.digest, encoder=found.encoder_digest, tolerance=tolerance)
    return Files(folder=found.folder, shift=found.shift, compute=known), known


def gives_of(network: SequenceNetwork | AnomalyNetwork) -> Gives:
    """What an exported encoder has to give this network: its maps where a detector reads them."""
    reads = {one.reads for one in network.methods} if isinstance(network, AnomalyNetwork) else set()
    return "maps" if "maps" in reads else "embeddings"


def back_encoder(
    network: SequenceNetwork | AnomalyNetwork, files: Files, preprocessing: PreprocessingSettings
) -> Encoder:
    """The encoder of a network, computed by exported files.

    Raises:
        ConfigError: the library is not installed, or this processor has no numbers of that precision.
        ModelError: a file cannot be loaded.
    """
    graphs = GRAPHS[files.compute.backend]
    if graphs is None:
        return ReducedEncoder(network.encoder, shift=files.shift).eval()
    shape = (network.chunk_size, preprocessing.channels, *preprocessing.size)
    session = open_session(files.folder / graphs[0], files.compute, shape=shape)
    return ExportedEncoder(session, inner=network.encoder, shift=files.shift, gives=gives_of(network)).eval()


def back_network(network: SequenceNetwork, files: Files, preprocessing: PreprocessingSettings) -> BackedNetwork:
    """A network of a diagnosis, computed by exported files; the sequence model in fp32. Raises as ``back_encoder``."""
    encoder, graphs = back_encoder(network, files, preprocessing), GRAPHS[files.compute.backend]
    if graphs is None:
        return BackedNetwork(network, encoder=encoder)
    plain = replace(files.compute, precision="fp32")
    shape = (1, -1, network.encoder.embedding_size)
    return BackedNetwork(network, encoder=encoder, sequence=open_session(files.folder / graphs[1], plain, shape=shape))


def open_session(path: Path, compute: Compute, *, shape: tuple[int, ...]) -> Session:
    """A graph, loaded by what is to compute it. Raises as ``back_encoder``."""
    if compute.backend == "onnx":
        from seriatim.trained.backends.onnx import OnnxSession

        return OnnxSession(path, device=compute.device)
    from seriatim.trained.backends.openvino import OpenVinoSession, has_bf16

    bf16 = compute.precision == "bf16"
    if bf16 and not has_bf16():
        raise ConfigError("This processor has no bf16, and OpenVINO would compute in fp32. Use --precision fp32.")
    return OpenVinoSession(path, shape=shape, hint="bf16" if bf16 else "f32")
