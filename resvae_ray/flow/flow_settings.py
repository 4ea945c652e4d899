"""The settings of a whole flow, and their record in its folder: a flow resumes with the same settings only."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pyarrow import fs as pafs

from resvae_ray import names
from resvae_ray.config import Config
from resvae_ray.config_file import config_to_dict, load_config
from resvae_ray.data.file_kind import FASTA, kind_by_content
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.data.proteins.batch import ProteinChoice
from resvae_ray.embed.settings import ALL, PHO, Embedding
from resvae_ray.errors import DataError, UsageError
from resvae_ray.files.atomic import read_json
from resvae_ray.files.place import LocalPlace, locate, reaching

SCENARIO = "recommended"
MAY_DIFFER = ("max_hours", "checkpoint_every_s")  # of [search]; of [resources] all may


def flow_config() -> Config:
    """The search of a flow unless another is given: one training of the scenario `recommended`."""
    config = load_config(SCENARIO)
    return replace(config, search=replace(config.search, trials=1))


@dataclass(frozen=True)
class FlowSettings:
    """Everything that a user can choose.

    Attributes:
        config: of the search.
        columns: which columns of a table of features are what; of a table of sequences, ids and label.
        sequence_column: of a table of sequences.
        embedding: how sequences become features; None reads features from any file that is not FASTA.
        exclude: a test set whose proteins are left out of the DATASET.
    """

    config: Config = field(default_factory=flow_config)
    columns: ColumnChoice = field(default_factory=ColumnChoice)
    sequence_column: str | None = None
    embedding: Embedding | None = None
    exclude: str | None = None

    def __post_init__(self) -> None:
        if self.embedding and self.embedding.pooling in (ALL, PHO):
            raise UsageError(
                f"--pooling {self.embedding.pooling}: a flow needs one vector per protein, made from its sequence "
                "alone; choose another pooling, or run 'resvae-ray embed' first and give its FEATURES as SOURCE"
            )
        if self.embedding and len(self.embedding.layers) > 1:
            raise UsageError("--layer: a flow needs one layer; run 'resvae-ray embed' first to compare several")

    def for_source(self, source: str) -> "FlowSettings":
        """The same, with the default embedding if the source is FASTA.

        Raises:
            UsageError: an option of sequences for a source of features, or one of features for sequences.
        """
        settings = self if self.exclude is None else replace(self, exclude=absolute(self.exclude))
        if settings.embedding is None and (kind_by_content(source) == FASTA or settings.sequence_column is not None):
            settings = replace(settings, embedding=Embedding())
        chosen = {name: value for name, value in asdict(settings.columns).items() if value is not None}
        if settings.embedding and (misplaced := set(chosen) - {"id_column", "label_column", "ids"}):
            raise UsageError(f"{_flag(min(misplaced))}: {source} holds sequences, which have no columns of features")
        return settings

    @property
    def proteins(self) -> ProteinChoice:
        """The columns of a table of sequences."""
        columns = self.columns
        return ProteinChoice(columns.id_column, self.sequence_column, columns.label_column, columns.ids)

    def record(self, source: str) -> dict[str, Any]:
        """Everything that decides the results, as JSON; not how the machine is used."""
        config = config_to_dict(self.config)
        config["search"] = {name: value for name, value in config["search"].items() if name not in MAY_DIFFER}
        return {
            "source": absolute(source),
            "source_state": _state(source),
            "columns": asdict(self.columns),
            "sequence_column": self.sequence_column,
            "embedding": asdict(self.embedding) | {"layers": list(self.embedding.layers)} if self.embedding else None,
            "exclude": self.exclude,
            "exclude_state": None if self.exclude is None else _state(self.exclude),
            **{section: table for section, table in config.items() if section != "resources"},
        }


def require_same(folder: LocalPlace, record: Mapping[str, Any]) -> None:
    """
    Raises:
        UsageError: the flow in `folder` was begun with another setting, or its source has changed since.
        DataError: its record is damaged.
    """
    known = read_json(folder / names.FLOW_FILE)
    if not isinstance(known, dict):
        raise DataError(f"{folder / names.FLOW_FILE}: not the record of a flow; choose another folder")
    wanted, found = dict(_flat(record)), dict(_flat(known))
    for name in [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]:
        if name.endswith("_state"):
            what = record[name.removesuffix("_state")]
            raise UsageError(f"{what}: has changed since {folder} was begun; choose another folder for the new results")
        raise UsageError(
            f"{folder}: was begun with {_said(name, found)}, not {_said(name, wanted)}; give the same options to "
            "resume it, or choose another folder"
        )


def _said(name: str, values: Mapping[str, Any]) -> str:
    value = values.get(name)
    flag = "SOURCE" if name == "source" else _flag(name.rpartition(".")[2])
    return f"no {flag}" if value is None else f"{flag} {value}"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested tables by their paths, in the form that JSON gives back."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", list(value) if isinstance(value, tuple) else value


def _state(source: str) -> list[int] | None:
    """Number, bytes and newest change of the files at a path; None if it is a glob or nothing is there."""
    filesystem, path = locate(source)
    with reaching(source):
        info = filesystem.get_file_info(path)
        if info.type == pafs.FileType.Directory:
            infos = filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
        else:
            infos = [info]
    files = [info for info in infos if info.type == pafs.FileType.File]
    return [len(files), sum(info.size for info in files), max(info.mtime_ns or 0 for info in files)] if files else None


def absolute(path: str | Path) -> str:
    """A path as another working folder can use it."""
    text = str(path)
    return text if "://" in text else str(locate(text)[1])
