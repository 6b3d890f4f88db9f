"""What every kind of experiment has, and how it is read from a YAML."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

from seriatim.experiment.data import DataSettings
from seriatim.settings import Settings, apply_overrides, build_settings, read_yaml
from seriatim.transforms import PreprocessingSettings


class BaseExperiment(Settings):
    """A whole run as data. ``read`` makes it from a YAML; an illegal or unknown key says what is legal."""

    name: str
    """What the run is called in pictures, in its model card, and in `runs/<name>` where no --output is given."""
    seed: int = Field(default=0, ge=0, le=10**9)
    """Everything random follows from it: first weights, validation draw, order, augmentation, dropout."""
    data: DataSettings
    preprocessing: PreprocessingSettings

    if TYPE_CHECKING:  # fields of every kind of experiment, each kind with settings of its own

        @property
        def network(self) -> Any: ...
        @property
        def task(self) -> Any: ...
        @property
        def training(self) -> Any: ...
        @property
        def augmentation(self) -> Any: ...
        @property
        def test_time(self) -> Any: ...

    @classmethod
    def read(cls, path: Path, overrides: Iterable[str] = ()) -> Self:
        """Read a YAML, apply ``KEY=VALUE`` overrides, and check the whole.

        Raises:
            ConfigError: the file cannot be read or a setting is illegal; the message names it and what is legal.
        """
        return cls.from_content(apply_overrides(read_yaml(path), overrides), where=str(path), folder=path.parent)

    @classmethod
    def from_content(cls, content: dict[str, Any], *, where: str, folder: Path | None = None) -> Self:
        """Check a mapping as an experiment, and resolve its paths against ``folder`` where they exist there."""
        experiment = build_settings(cls, content, where=where)
        if folder is None:
            return experiment
        data = experiment.data
        given = {name: getattr(data, name) for name in ("manifest", "slice_labels")}
        found = {name: None if path is None else find_beside(path, folder) for name, path in given.items()}
        located = experiment.model_copy(update={"data": data.model_copy(update=found)})
        encoder = experiment.network.encoder
        if encoder.weights in (None, "imagenet"):
            return located
        weights = encoder.model_copy(update={"weights": str(find_beside(Path(str(encoder.weights)), folder))})
        return located.model_copy(update={"network": experiment.network.model_copy(update={"encoder": weights})})


def find_beside(path: Path, folder: Path) -> Path:
    """A path of a config as an absolute one: below the config's folder where it is there, else from where we are."""
    beside = folder / path
    return (beside if beside.exists() else path).resolve()
