"""The hidden folder in which `embed` works, on a disk or in a bucket: proteins in blocks, their vectors in parts.

The proteins are checked and laid down as Parquet in the order of the input, some hundred megabytes of features a block.
A block's proteins, sorted by length, are cut into parts; a part is what a worker embeds at a time and what a killed job
does not do again. When all parts are there, each block is put back into the order of the input: in bounded memory, and
the same whoever embedded what.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, out of sight of a type checker.

import io
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from resvae_ray import names
from resvae_ray.data.features import BATCH_BYTES, require_unique_ids, rows_in
from resvae_ray.data.features_writer import FeaturesWriter, part_name, part_rows
from resvae_ray.data.layout import ROWS
from resvae_ray.data.other_tables import ListedIds
from resvae_ray.data.parquet_pieces import SUFFIX, parquet_file, reading_parquet
from resvae_ray.data.proteins import ProteinBatch, ProteinChoice, read_proteins
from resvae_ray.data.proteins.sites import Sites
from resvae_ray.data.schema import FeatureBatch
from resvae_ray.embed.batching import length_order, part_bounds
from resvae_ray.embed.settings import ERROR, TRUNCATE, Embedding
from resvae_ray.errors import DataError, JobError
from resvae_ray.files.place import Place

BLOCK_BYTES = 256 << 20  # of sequences and vectors in a block: what is held when its order is restored


@dataclass(frozen=True)
class Part:
    """Some proteins of a block: those from `start` to `stop` in the order of their length."""

    number: int
    block: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """The name of the file of its vectors, which may not exist yet."""
        return names.PART_FILES.format(number=self.number)

    def file(self, folder: Place) -> Place:
        """That file."""
        return folder / self.name


@dataclass(frozen=True)
class Work:
    """A folder with all proteins in it.

    Attributes:
        widths: of each FEATURES by its name, in the order in which the vectors stand side by side.
        rows: proteins in all.
        cut: those of them that are longer than the model reads at once.
        siteless: those without a site that is read; 0 where no sites were asked for.
        sites_cut: sites beyond what is read of their proteins.
        sites_forms: how many proteins the table of sites names in which form; see data/same_protein.py.
    """

    folder: Place
    parts: tuple[Part, ...]
    widths: dict[str, int]
    rows: int
    cut: int
    siteless: int
    sites_cut: int
    sites_forms: dict[str, int]

    def missing(self) -> list[Part]:
        """The parts that are still to be embedded."""
        there = self.folder.file_names()
        return [part for part in self.parts if part.name not in there]


@dataclass(frozen=True)
class FeaturesFile:
    """A file of the FEATURES `name`: `rows` proteins in the order of the input, from `start` on, counted from 0.

    Attributes:
        output: its name in the folder that is written.
    """

    output: str
    rows: int
    name: str
    start: int


def features_files(work: Work) -> list[FeaturesFile]:
    """The files of all FEATURES in a folder, cut where `FeaturesWriter` would cut them."""
    return [
        FeaturesFile(f"{folder}{part_name(number)}", min(size, work.rows - start), name, start)
        for name, width in work.widths.items()
        for folder in ["" if len(work.widths) == 1 else f"{name}/"]
        for size in [part_rows(width)]
        for number, start in enumerate(range(0, work.rows, size))
    ]


def prepare(
    folder: Place,
    proteins: str,
    choice: ProteinChoice,
    sites: str | None,
    settings: Embedding,
    widths: dict[str, int],
    part_residues: int,
) -> Work:
    """Lays the proteins down in `folder`; nothing there says that it is done.

    Args:
        part_residues: about how many residues a part has.

    Raises:
        UsageError, DataError: of the proteins and sites; ids twice; with `--long error` a sequence that is too long.
    """
    known_sites = Sites(sites, settings.max_length if settings.long == TRUNCATE else None) if sites else None
    longest, parts, rows, siteless, number = Longest(settings), [], 0, 0, 0
    for number, batches in enumerate(_blocks(_proteins(proteins, choice), sum(widths.values()))):
        table = pa.concat_tables([_table(batch, known_sites, proteins) for batch in batches])
        with _block_file(folder, number).staged_file() as staging:
            pq.write_table(table, staging, compression="zstd")
        lengths = _lengths(table)
        for batch in batches:
            longest.look_at(batch)
        for start, stop in part_bounds(np.sort(lengths), part_residues):
            parts.append(Part(len(parts), number, start, stop))
        rows += len(table)
        if known_sites:
            siteless += int((pc.list_value_length(table[names.SITES]).to_numpy() == 0).sum())
    if known_sites:
        known_sites.require_all_seen()
    longest.raise_if_error(proteins)
    require_unique_ids(
        lambda: _ids(folder, number + 1), proteins, lambda row: _place(_proteins(proteins, choice), row), rows
    )
    sites_cut, forms = (known_sites.cut, dict(known_sites.matched)) if known_sites else (0, {})
    return Work(folder, tuple(parts), widths, rows, longest.count, siteless, sites_cut, forms)


def _proteins(source: str, choice: ProteinChoice) -> Iterator[ProteinBatch]:
    """The proteins, under the ids of a file where the user gave one."""
    if choice.ids in (None, ROWS):
        yield from read_proteins(source, choice)
        return
    given, rows = ListedIds(str(choice.ids), source), 0
    for batch in read_proteins(source, choice):
        ids = given.take(len(batch))
        rows += len(batch)
        yield replace(batch, ids=ids, headers=ids)
    given.require_end(rows)


def read_part(folder: Place, part: Part) -> tuple[list[str], list[str], list[list[int]]]:
    """Ids, sequences and the positions of the sites of a part's proteins, by length."""
    table = _block(folder, part.block, [names.ID, names.SEQUENCE, names.SITES])
    table = table.take(length_order(_lengths(table))[part.start : part.stop])
    return tuple(column.to_pylist() for column in table.columns)  # type: ignore[return-value]


def write_features(work: Work, target: Place, provenance: dict[str, dict[str, Any]]) -> None:
    """All FEATURES: at `target` where there is one, else in folders of their names below it.

    Args:
        provenance: of each.

    Raises:
        JobError: vectors are missing.
    """
    widths = work.widths
    with target.staged_file() if target.suffix == SUFFIX else target.staged_folder() as staging, ExitStack() as opened:
        writers = []
        for name, width in widths.items():
            place = staging if len(widths) == 1 else staging / name
            if place != staging:
                place.mkdir()
            writers.append(opened.enter_context(FeaturesWriter(place, width, provenance[name])))
        for table, vectors in _rows_in_order(work, 0, work.rows, slice(None)):
            first = 0
            for writer in writers:
                _write(table, vectors[:, first : first + writer.dim], writer)
                first += writer.dim
        if any(writer.rows != work.rows for writer in writers):
            raise JobError(f"{work.folder}: not all of {work.rows} proteins are there; remove it to begin anew")


def write_file(file: FeaturesFile, work: Work, target: Place, provenance: dict[str, dict[str, Any]]) -> int:
    """Writes a file of the folder `target` and returns its number of rows; see `write_features`."""
    wanted = list(work.widths).index(file.name)
    first, width = sum(list(work.widths.values())[:wanted]), work.widths[file.name]
    with (
        (target / file.output).staged_file() as staging,
        FeaturesWriter(staging, width, provenance[file.name]) as writer,
    ):
        for table, vectors in _rows_in_order(work, file.start, file.start + file.rows, slice(first, first + width)):
            _write(table, vectors, writer)
    return writer.rows


def _write(table: pa.Table, vectors: np.ndarray, writer: FeaturesWriter) -> None:
    others = table.drop_columns([names.ID, names.SITES])
    step = rows_in(BATCH_BYTES, writer.dim)
    for start in range(0, len(table), step):
        ids = table[names.ID].slice(start, step).combine_chunks()
        writer.write(FeatureBatch(ids, vectors[start : start + step], others.slice(start, step)))


def _rows_in_order(work: Work, start: int, stop: int, columns: slice) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """The proteins from `start` to `stop` in the order of the input, and some columns (n, …) of their vectors.

    A block at a time, as far as it belongs to them.
    """
    by_block: dict[int, list[Part]] = {}
    for part in work.parts:
        by_block.setdefault(part.block, []).append(part)
    width, begin = len(range(*columns.indices(sum(work.widths.values())))), 0
    for block, parts in by_block.items():
        end = begin + max(part.stop for part in parts)
        if (first := max(start, begin) - begin) < (last := min(stop, end) - begin):
            table = _block(work.folder, block)
            order, vectors = length_order(_lengths(table)), np.empty((last - first, width), np.float32)
            for part in parts:
                rows = order[part.start : part.stop]
                if (inside := (rows >= first) & (rows < last)).any():
                    vectors[rows[inside] - first] = _part_vectors(work, part)[inside, columns]
            yield table.slice(first, last - first), vectors
        begin = end


def _part_vectors(work: Work, part: Part) -> np.ndarray:
    path, shape = part.file(work.folder), (part.stop - part.start, sum(work.widths.values()))
    try:
        vectors = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise JobError(f"{path}: cannot be read ({error}); remove it and run the same command again") from None
    if vectors.shape != shape:
        raise JobError(
            f"{path}: an array of {vectors.shape} instead of {shape}; remove it and run the same command again"
        )
    return vectors


def _blocks(batches: Iterator[ProteinBatch], width: int) -> Iterator[list[ProteinBatch]]:
    """Consecutive batches, about BLOCK_BYTES of sequences and vectors together."""
    block, size, most = [], 0, rows_in(BLOCK_BYTES, width)
    for batch in batches:
        for piece in (batch.slice(start, most) for start in range(0, len(batch), most)):
            block.append(piece)
            size += len(piece) * 4 * width + piece.sequences.nbytes
            if size >= BLOCK_BYTES:
                yield block
                block, size = [], 0
    if block:
        yield block


def _table(batch: ProteinBatch, sites: Sites | None, source: str) -> pa.Table:
    positions = sites.of(batch) if sites else pa.array([[]] * len(batch), pa.list_(pa.int32()))
    table = pa.table({names.ID: batch.ids, names.SEQUENCE: batch.sequences, names.SITES: positions})
    for name in batch.others.column_names:
        if name == names.SITES:
            raise DataError(f"{source}: a column {name!r} cannot pass through; rename it")
        table = table.append_column(name, batch.others.column(name))
    return table


def _lengths(table: pa.Table) -> np.ndarray:
    return pc.binary_length(table[names.SEQUENCE]).to_numpy()


def _block_file(folder: Place, number: int) -> Place:
    return folder / names.BLOCK_FILES.format(number=number)


def _block(folder: Place, number: int, columns: list[str] | None = None) -> pa.Table:
    file = _block_file(folder, number)
    with reading_parquet(str(file)):
        return parquet_file(*file.located()).read(columns, use_threads=False)


def _ids(folder: Place, blocks: int) -> Iterator[pa.Array]:
    for number in range(blocks):
        yield from _block(folder, number, [names.ID]).column(0).chunks


def _place(batches: Iterator[ProteinBatch], row: int) -> str:
    """The position in its file of the protein with number `row`, from 1."""
    for batch in batches:
        if row <= len(batch):
            return batch.place(row - 1)
        row -= len(batch)
    raise AssertionError("a row that was read before")


class Longest:
    """Sequences longer than the model reads at once: how many, and which is the longest."""

    def __init__(self, settings: Embedding) -> None:
        self.settings, self.count, self.most, self.named = settings, 0, 0, ""

    def look_at(self, batch: ProteinBatch) -> None:
        """Counts them in a batch."""
        lengths = pc.binary_length(batch.sequences).to_numpy()
        self.count += int((lengths > self.settings.max_length).sum())
        if lengths.max() > self.most:
            row = int(lengths.argmax())
            self.most, self.named = int(lengths[row]), f"{batch.place(row)} (id {batch.ids[row].as_py()})"

    def raise_if_error(self, source: str) -> None:
        """
        Raises:
            DataError: there are some, and the settings do not say what to do with them.
        """
        if self.count and self.settings.long == ERROR:
            raise DataError(
                f"{source}: {self.count:,} sequences are longer than --max-length {self.settings.max_length}, the "
                f"longest is {self.named} with {self.most:,} residues; --long split or --long truncate says what to do "
                f"with them, or --max-length {self.most} reads all of them whole"
            )
