"""Tensors in, SequenceOutput out: encoder, sequence model, pooling, network. No files, no frameworks."""

from seriatim.models.chunks import encode_in_chunks
from seriatim.models.encoder import Encoder
from seriatim.models.network import EncoderSettings, NetworkSettings, SequenceNetwork
from seriatim.models.output import SequenceOutput
from seriatim.models.pooling import PoolingSettings
from seriatim.models.temporal import TemporalSettings

__all__ = [
    "Encoder",
    "EncoderSettings",
    "NetworkSettings",
    "PoolingSettings",
    "SequenceNetwork",
    "SequenceOutput",
    "TemporalSettings",
    "encode_in_chunks",
]
