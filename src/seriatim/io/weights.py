"""Pretrained weights: from a file, or torchvision's ImageNet weights, downloaded once and checked by their sha256."""

from __future__ import annotations

import difflib
import hashlib
import logging
import os
import pickle
import re
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seriatim.compat import import_torchvision
from seriatim.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

IMAGENET = "imagenet"
CACHE, MIRROR, OFFLINE = "SERIATIM_CACHE", "SERIATIM_WEIGHTS_MIRROR", "SERIATIM_OFFLINE"
TORCH_SUFFIXES = (".pth", ".pt", ".bin")
WRAPPERS = ("state_dict", "model_state_dict", "model")
TIMEOUT_S = 30.0
BLOCK_BYTES = 1 << 20
HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+$")


def load_weights(source: str, *, name: str, cache: Path | None = None) -> dict[str, Tensor]:
    """The state dict of the network ``name``, floating tensors as float32 on the CPU.

    ``source`` is the path of a .pth file (read without unpickling code) or .safetensors file, or "imagenet": the
    default weights torchvision publishes for ``name``, kept in ``cache`` (else SERIATIM_CACHE, else ~/.cache/seriatim).
    SERIATIM_WEIGHTS_MIRROR, a base URL or a folder, takes the place of the publisher's host; SERIATIM_OFFLINE=1 forbids
    downloads.

    Raises:
        ConfigError: torchvision publishes no weights for ``name``.
        ModelError: the file is missing, damaged, no state dict, or cannot be fetched; the message says where to put it.
    """
    path = _fetch_imagenet(name, cache=cache) if source == IMAGENET else Path(source).expanduser()
    if not path.is_file():
        raise ModelError(f"The weights file {path} does not exist. Give a .pth or .safetensors file, or 'imagenet'.")
    return _as_state_dict(_read(path), path=path)


def _read(path: Path) -> Any:
    if path.suffix != ".safetensors" and path.suffix not in TORCH_SUFFIXES:
        raise ModelError(f"{path} is no weights file by its name. Give a .safetensors, .pth, .pt or .bin file.")
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, SafetensorError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"The weights file {path} cannot be read: {_first_line(error)}. "
            "It is damaged, or holds more than tensors; save only the state dict, best as .safetensors."
        ) from error


def _as_state_dict(content: Any, *, path: Path) -> dict[str, Tensor]:
    """The tensors by name, out of the wrappings that training programs put around them."""
    import torch

    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise ModelError(f"{path} holds no state dict. Save the network's state_dict().")
    odd = next((key for key, value in content.items() if not isinstance(value, torch.Tensor)), None)
    if odd is not None:
        raise ModelError(f"{path} holds {odd!r}, which is no tensor. Save only the network's state_dict().")
    return {
        str(key).removeprefix("module."): value.float() if value.is_floating_point() else value
        for key, value in content.items()
    }


def _fetch_imagenet(name: str, *, cache: Path | None) -> Path:
    url = _published_url(name)
    filename = Path(urllib.parse.urlsplit(url).path).name
    found = HASH_IN_NAME.search(filename)
    if found is None:
        raise ModelError(f"The published weights {filename} carry no hash, so they cannot be checked. Give a file.")
    folder = (cache or Path(os.environ.get(CACHE) or "~/.cache/seriatim").expanduser()) / "weights"
    path = folder / filename
    if not path.is_file():
        _download(url, path, digest=found[1])
    elif not _hash(path).startswith(found[1]):
        raise ModelError(f"{path} is damaged: its sha256 does not begin with {found[1]}. Delete it and run again.")
    return path


def _published_url(name: str) -> str:
    models = import_torchvision().models
    names = models.list_models(module=models)
    if name not in names:
        near = difflib.get_close_matches(name.lower(), names, n=5, cutoff=0.4) or names
        raise ConfigError(f"torchvision publishes no weights for {name!r}. Near: {', '.join(near)}.")
    return str(models.get_model_weights(name).DEFAULT.url)


def _download(url: str, path: Path, *, digest: str) -> None:
    """Fetch into a file beside ``path``, check its sha256, and only then give it its name."""
    repair = f"Put the file at {path}, name a folder that holds it in {MIRROR}, or give weights as a path."
    mirror = os.environ.get(MIRROR, "")
    if os.environ.get(OFFLINE, "") not in ("", "0") and not _is_folder(mirror):
        raise ModelError(f"{OFFLINE} forbids to download {url}. {repair}")
    logger.info("fetching %s", path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-") as folder:
            part, hasher = Path(folder) / path.name, hashlib.sha256()
            with part.open("wb") as file:
                for block in _blocks(url, mirror=mirror):
                    hasher.update(block)
                    file.write(block)
            if not hasher.hexdigest().startswith(digest):
                raise ModelError(f"What was fetched as {path.name} has another sha256, so it is not used. {repair}")
            part.replace(path)
    except (OSError, HTTPException) as error:  # URLError and HTTPError are OSErrors too
        raise ModelError(f"{path.name} cannot be fetched: {_first_line(error)}. {repair}") from error


def _blocks(url: str, *, mirror: str) -> Iterator[bytes]:
    remote = urllib.parse.urlsplit(url).path.lstrip("/")
    if _is_folder(mirror):
        folder = Path(mirror).expanduser()
        path = next((path for path in (folder / remote, folder / Path(remote).name) if path.is_file()), folder / remote)
        with path.open("rb") as file:
            yield from iter(lambda: file.read(BLOCK_BYTES), b"")
        return
    address = f"{mirror.rstrip('/')}/{remote}" if mirror else url
    if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
        raise ModelError(f"{address} is no http address. Set {MIRROR} to a base URL or to a folder that exists.")
    with urllib.request.urlopen(address, timeout=TIMEOUT_S) as response:  # noqa: S310  the scheme was checked
        while block := response.read(BLOCK_BYTES):
            yield block


def _is_folder(mirror: str) -> bool:
    return bool(mirror) and Path(mirror).expanduser().is_dir()


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
