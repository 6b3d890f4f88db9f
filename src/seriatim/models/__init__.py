"""Tensors in, SequenceOutput out: encoder, sequence model, pooling, network. No files, no frameworks."""

from seriatim.models.chunks import encode_in_chunks
from seriatim.models.encoder import Encoder
from seriatim.models.network import (
    EncoderSettings,
    NetworkSettings,
    PoolingSettings,
    SequenceNetwork,
    TemporalSettings,
)
from seriatim.models.output import SequenceOutput
from seriatim.models.slice_scores import SliceScoresSettings

__all__ = [
    "Encoder",
    "EncoderSettings",
    "NetworkSettings",
    "PoolingSettings",
    "SequenceNetwork",
    "SequenceOutput",
    "SliceScoresSettings",
    "TemporalSettings",
    "encode_in_chunks",
]
