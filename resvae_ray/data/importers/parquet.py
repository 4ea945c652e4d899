"""Parquet, a file, folder or glob: a column of vectors (list, fixed-size list, tensor), or a column a feature.

A folder of Hugging Face's `datasets` has files such as train-00000-of-00005.parquet: all splits in it are read, in the
order of the names, and a missing file is missed. Labels that it keeps as numbers with names become the names.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
from pyarrow import fs as pafs

from resvae_ray.data.features import Features, schema_of
from resvae_ray.data.id_column import import_layout
from resvae_ray.data.layout import FEATURES_COLUMNS, ColumnChoice, find_column, has_numbered
from resvae_ray.data.parquet_pieces import SUFFIX, column_pieces
from resvae_ray.data.schema import FeatureBatch, as_text, numbers_from
from resvae_ray.data.vector_columns import is_whole, text_vectors, vector_columns
from resvae_ray.errors import DataError
from resvae_ray.files.listing import list_files
from resvae_ray.files.place import locate, reaching
from resvae_ray.names import LABEL

SPANS = re.compile(r"\d+|\D+").findall
SHARD = re.compile(r"(?P<split>[^/]+)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?\.parquet")


@dataclass(frozen=True)
class ParquetSource:
    """Parquet files that are imported as one table.

    Attributes:
        names: of the labels, if the files keep numbers instead.
        found: see `FeatureBatch`.
    """

    source: str
    features: Features
    names: list[str] | None
    found: Mapping[str, str]

    @classmethod
    def open(cls, source: str, choice: ColumnChoice) -> "ParquetSource":
        """
        Raises:
            DataError: also, a folder lacks some of the shards of a split.
        """
        filesystem, files = list_files(source, SUFFIX)
        schema = schema_of(filesystem, files)

        def texts(name: str) -> Iterator[pa.Array]:
            if _has_text(schema.field(name).type):
                for table in column_pieces(filesystem, files, [name]):
                    yield as_text(table.column(0), f"{source}: column {name}")

        def first(name: str) -> str | None:
            return next((text for piece in texts(name) for text in piece.drop_null()[:1].to_pylist()), None)

        vectors = _features_among(schema, vector_columns(schema), choice, files[0])
        if choice.features_column not in (None, *vectors) or not vectors:
            of_text = [field.name for field in schema if pa.types.is_string(field.type)]
            if has_numbered(schema.names) and choice.features_column is None:
                of_text = [name for name in of_text if find_column([name], FEATURES_COLUMNS)]
            vectors = text_vectors(of_text, first, choice)
        layout, of_ids = import_layout(schema.names, vectors or _strange(schema, files[0]), texts, choice, files[0])
        if layout.id is None:
            require_order(files)
        features = Features.with_layout(source, filesystem, files, schema, layout)
        splits = _splits(features.files, source)
        found = {**features.provenance, **({"splits": ", ".join(splits)} if splits else {}), **of_ids}
        return cls(source, features, _label_names(features), found)

    def as_imported(self, batches: Iterable[FeatureBatch], start: int = 0) -> Iterator[FeatureBatch]:
        """Batches of `features` as FEATURES are to have them; `start` rows come before them."""
        for batch in batches:
            ids = numbers_from(start, len(batch)) if self.features.layout.id is None else batch.ids
            start += len(batch)
            yield replace(_with_label_names(batch, self.names, self.source), ids=ids, found=self.found)


def read(source: str, choice: ColumnChoice) -> Iterator[FeatureBatch]:
    """The rows of Parquet files, in order; see `Features.batches` and `ParquetSource.open` for what is refused."""
    opened = ParquetSource.open(source, choice)
    yield from opened.as_imported(opened.features.batches())


def _features_among(schema: pa.Schema, vectors: list[str], choice: ColumnChoice, where: str) -> list[str]:
    """The columns of vectors; those of whole numbers, such as `input_ids`, only if named so or chosen.

    Raises:
        DataError: all hold whole numbers.
    """
    named = (choice.features_column, find_column(vectors, FEATURES_COLUMNS))
    found = [name for name in vectors if name in named or not is_whole(schema.field(name).type)]
    if vectors and not found and choice.prefix is None and not has_numbered(schema.names):
        raise DataError(
            f"{where}: column {vectors[0]!r} holds lists of whole numbers, as tokens are; choose it with "
            "--features-column if these are the features"
        )
    return found


def require_order(files: Sequence[str]) -> None:
    """
    Raises:
        DataError: the files are numbered, and not in the order of their numbers, on which rows without ids depend.
    """
    by_number = sorted(
        files, key=lambda path: [(int(part), "") if part.isdecimal() else (-1, part) for part in SPANS(path)]
    )
    if (wrong := next((pair for pair in zip(files, by_number, strict=True) if pair[0] != pair[1]), None)) is not None:
        raise DataError(
            f"{wrong[1]}: is read after {wrong[0]}, in the order of names, but rows without ids need the order of "
            "numbers; write the numbers in the names with leading zeros"
        )


def _strange(schema: pa.Schema, where: str) -> list[str]:
    """No columns of vectors.

    Raises:
        DataError: a column has a usual name of vectors, and holds something else.
    """
    name = find_column(schema.names, FEATURES_COLUMNS)
    if name is not None and not _is_number(schema.field(name).type):
        raise DataError(f"{where}: column {name!r} holds {schema.field(name).type}; expected lists of numbers")
    return []


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _has_text(kind: pa.DataType) -> bool:
    """Whether the values of a column may be ids: not lists and the like."""
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _splits(files: Sequence[str], source: str) -> list[str]:
    """The splits that the files' names tell of.

    Raises:
        DataError: a folder has some shards of a split, but not all.
    """
    shards = defaultdict(set)
    for match in filter(None, map(SHARD.fullmatch, (path.rpartition("/")[2] for path in files))):
        shards[match["split"], int(match["count"])].add(int(match["number"]))
    filesystem, place = locate(source)
    with reaching(source):
        whole = filesystem.get_file_info(place).type == pafs.FileType.Directory
    for (split, count), there in shards.items():
        if whole and (missing := set(range(count)) - there):
            raise DataError(
                f"{source}: {split}-{min(missing):05d}-of-{count:05d}{SUFFIX} is missing, {len(there)} of {count} "
                "shards are there; fetch the rest, or name those to read by a glob"
            )
    return list(dict.fromkeys(split for split, _ in shards))


def _label_names(features: Features) -> list[str] | None:
    """The names of the labels, where the files have Hugging Face's description of their columns."""
    try:
        described = json.loads((features.schema.metadata or {})[b"huggingface"])["info"]["features"]
        kind = described[features.layout.label]
        return [str(name) for name in kind["names"]] if kind["_type"] == "ClassLabel" else None
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def _with_label_names(batch: FeatureBatch, names: list[str] | None, source: str) -> FeatureBatch:
    if names is None:
        return batch
    known = {None: None, "-1": None, **{str(number): name for number, name in enumerate(names)}}
    labels = batch.others.column(LABEL).to_pylist()
    if unknown := set(labels) - set(known):
        raise DataError(f"{source}: label {min(unknown)} has no name among the {len(names)} that the file describes")
    named = pa.array([known[label] for label in labels], pa.string())
    place = batch.others.column_names.index(LABEL)
    return replace(batch, others=batch.others.set_column(place, LABEL, named))
