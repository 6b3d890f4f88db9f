"""Get an open set by name: fetch or find its files, verify them, and write what ``train`` reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import seriatim
from seriatim.datasets.catalogue import find_dataset
from seriatim.datasets.checks import SUMS, write_sums
from seriatim.datasets.dataset import Dataset, Prepared
from seriatim.datasets.download import Advance, download, ignore
from seriatim.errors import ConfigError, InputError, OutputError
from seriatim.io.tables.outputs import make_folder, write_json, write_text

RECEIPT, CONFIG, MANIFEST = "receipt.json", "train.yaml", "labels.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """What was written: counts, the ready config, how the files were verified, and what to know about this copy."""

    series: int
    config: Path
    check: str
    notes: tuple[str, ...]


def get_dataset(
    name: str, output: Path, *, source: str | None = None, accept_licence: bool = False, advance: Advance = ignore
) -> Got:
    """Get an open set, and write ``labels.csv``, a ready ``train.yaml`` and ``receipt.json`` to ``output``.

    Args:
        name: one of ``DATASETS``.
        output: a new folder, or one where the same set was got before: files are fetched once, a download goes on.
        source: a mirror's address, a file or a folder; None: the publisher.
        accept_licence: the set's licence was read and is accepted.
        advance: told the bytes of a download that are here, and that there will be (0: not known).

    Raises:
        ConfigError: there is no such set, or its licence is not accepted.
        InputError: the files cannot be had, or are not those of the set; the message says what to put where.
        OutputError: ``output`` holds something else, or cannot be written.
    """
    dataset = find_dataset(name)
    if not accept_licence:
        raise ConfigError(
            f"{name} is under {dataset.licence.name} ({dataset.licence.url}). Read it, and run again with "
            "--accept-licence if you accept it."
        )
    _claim(output, dataset)
    material = _obtain(dataset, output, source, advance)
    prepared = dataset.prepare(material, output)
    write_text(output / CONFIG, _config_text(dataset, prepared))
    write_sums(output, prepared.sources)
    write_json(output / RECEIPT, _receipt(dataset, prepared, source=source))
    return Got(series=prepared.series, config=output / CONFIG, check=prepared.check, notes=prepared.notes)


def _claim(output: Path, dataset: Dataset) -> None:
    """Make the folder this set's own, by a receipt that is filled in at the end."""
    make_folder(output)
    receipt = output / RECEIPT
    if receipt.is_file():
        try:
            owner = json.loads(receipt.read_text(encoding="utf-8"))["name"]
        except (ValueError, KeyError, TypeError):
            owner = "something else"
        if owner != dataset.name:
            raise OutputError(f"{output} holds {owner}. Give a folder of its own to {dataset.name}.")
    elif any(output.iterdir()):
        raise OutputError(f"{output} is not empty and holds no {RECEIPT}. Give a new folder.")
    write_json(receipt, {"name": dataset.name, "complete": False})


def _obtain(dataset: Dataset, output: Path, source: str | None, advance: Advance) -> Path:
    if source is not None and "://" not in source:
        path = Path(source).expanduser().resolve()
        if not path.exists():
            raise InputError(f"{path} does not exist. --from takes {dataset.forms}, or a mirror's address.")
        return path
    url = dataset.file.url if source is None else _address(source, dataset)
    if url is None:
        raise InputError(f"{dataset.name} is behind a sign-in. {dataset.by_hand}")
    try:
        return download(dataset.file, url, make_folder(output / "download"), advance)
    except InputError as error:
        raise InputError(f"{error} {dataset.by_hand}") from error


def _address(source: str, dataset: Dataset) -> str:
    """The address of the file: a mirror gives that of a folder or of the file itself."""
    ending = Path(dataset.file.name).suffix
    return source if source.split("?")[0].endswith(ending) else f"{source.rstrip('/')}/{dataset.file.name}"


def _config_text(dataset: Dataset, prepared: Prepared) -> str:
    data: dict[str, Any] = {"manifest": MANIFEST, **prepared.config.get("data", {})}
    content = {"name": dataset.name, "seed": 0, **prepared.config, "data": data}
    return (
        f"# {dataset.title}. Written by `seriatim get {dataset.name}`; a start, not a tuned result.\n"
        f"# command:  seriatim train {CONFIG}\n"
        f"# data:     {dataset.citation}\n"
        f"# licence:  {dataset.licence.name}, {dataset.licence.url}\n"
        f"{yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)}"
    )


def _receipt(dataset: Dataset, prepared: Prepared, *, source: str | None) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "complete": True,
        "title": dataset.title,
        "licence": {"name": dataset.licence.name, "url": dataset.licence.url, "note": dataset.licence.note,
                    "accepted": True},
        "citation": dataset.citation,
        "page": dataset.page,
        "from": source or dataset.file.url,
        "check": prepared.check,
        "sha256": f"{len(prepared.sources)} files in {SUMS}",
        "series": prepared.series,
        "notes": list(prepared.notes),
        "seriatim": seriatim.__version__,
    }
