"""Every format that features come in, one file each; all become FEATURES.

A reader is a function `read(source, choice)` that yields FeatureBatch in the order of the file, in bounded memory,
raising DataError with file, row and column for what is wrong in it. To add a format, write its file and add its line
to READERS.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from pyarrow import fs as pafs

from resvae_ray.data.features import Features, require_unique_ids
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.file_kind import FASTA, HDF5, TEXT, kind_by_content
from resvae_ray.data.id_column import IDS_KEY, ROW_NUMBERS
from resvae_ray.data.importers import delimited, excel, h5ad, hdf5, numpy_arrays, parquet, torch_files
from resvae_ray.data.importers.apart import read_apart
from resvae_ray.data.importers.joined_table import SourceRows, TablesBeside
from resvae_ray.data.layout import ROWS, ColumnChoice
from resvae_ray.data.other_tables import ListedIds
from resvae_ray.data.parquet_pieces import SUFFIX
from resvae_ray.data.schema import FeatureBatch, numbers_from
from resvae_ray.errors import DataError, UsageError
from resvae_ray.files.place import locate, place_to_write, reaching, refuse_inside
from resvae_ray.names import ID, LABEL
from resvae_ray.progress import Progress, silent

FeatureReader = Callable[[str, ColumnChoice], Iterator[FeatureBatch]]

READERS: dict[str, FeatureReader] = {
    ".parquet": parquet.read,
    ".npz": numpy_arrays.read,
    ".npy": numpy_arrays.read,
    ".csv": delimited.read,
    ".csv.gz": delimited.read,
    ".tsv": delimited.read,
    ".tsv.gz": delimited.read,
    ".txt": delimited.read,
    ".txt.gz": delimited.read,
    ".xlsx": excel.read,
    ".xlsm": excel.read,
    ".h5": hdf5.read,
    ".hdf5": hdf5.read,
    ".h5ad": h5ad.read,
    ".pt": torch_files.read,
}
PARQUET_INSTEAD = "write Parquet, such as with pandas' or Polars' own method"
NOT_READ = {  # by their endings: what they are, and what to do
    (".feather", ".arrow", ".arrows", ".ipc"): ("Arrow IPC", PARQUET_INSTEAD),
    (".json", ".jsonl", ".ndjson"): ("JSON", PARQUET_INSTEAD),
    (".db", ".sqlite", ".sqlite3", ".duckdb"): ("a database", "write the table as Parquet or CSV"),
    (".zarr",): ("Zarr", "write NPZ with the matrix and its ids, or AnnData's write_h5ad"),
    (".safetensors",): ("safetensors", "torch.save(safetensors.torch.load_file(FILE), 'FILE.pt') keeps the names"),
    (".pkl", ".pickle", ".joblib"): ("a pickle, which could run code", "write NPZ or Parquet"),
    (".mat", ".rds", ".rda", ".rdata"): ("a file of MATLAB or R", "write CSV, or Parquet"),
    (".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".zst"): ("an archive", "unpack it, and import what is in it"),
}
IN_FOLDERS = (".parquet", ".pt")  # formats that are a folder of files, perhaps with other files beside them
ALONE_IN_FOLDERS = (".npy", *delimited.ENDINGS)  # the same, without files of those formats
HDF5_FORMATS = (".h5", ".hdf5", ".h5ad")
APART: tuple[FeatureReader, ...] = (hdf5.read, h5ad.read)  # libhdf5 can loop, or crash, on a damaged file
OWN_CHOICES: dict[str, tuple[FeatureReader, ...]] = {  # fields of ColumnChoice that some formats alone have
    "prefix": (parquet.read, delimited.read, excel.read),
    "sheet": (excel.read,),
    "layer": (torch_files.read,),
}


@dataclass(frozen=True)
class ImportSummary:
    """Summary of an import: `rows` proteins of `dim` numbers, with or without a label.

    `found` holds the metadata of the source, and which of several parts of it were read.
    """

    path: str
    rows: int
    dim: int
    label: bool
    columns: tuple[str, ...]
    found: Mapping[str, str]


def reader_for(source: str) -> FeatureReader:
    """
    Raises:
        DataError: nothing is there, or a folder with files of no format or of two.
        UsageError: no format is known by that ending, and the content shows none.
    """
    named = next((ending for ending in sorted(READERS, key=len, reverse=True) if source.lower().endswith(ending)), None)
    kind = kind_by_content(source)
    if kind == FASTA:
        raise UsageError(f"{source}: sequences in FASTA; 'resvae-ray embed' makes features of them")
    if kind in READERS and kind != TEXT and not (kind == HDF5 and named in HDF5_FORMATS):
        return READERS[kind]
    if named is not None:
        return READERS[named]
    filesystem, place = locate(source)
    with reaching(source):
        kind = filesystem.get_file_info(place).type
        if kind != pafs.FileType.NotFound:
            _refuse_not_read(source)
        if kind == pafs.FileType.Directory:
            return READERS[_ending_in(filesystem, place, source)]
    if "*" in source:
        return parquet.read
    if kind == pafs.FileType.NotFound:
        raise DataError(f"{source}: no such file or folder")
    raise UsageError(
        f"{source}: unknown format; the endings read are .parquet, .npz, .npy, .csv, .xlsx, .h5, .h5ad, .pt and their "
        "like; 'resvae-ray embed' makes features of sequences"
    )


def _refuse_not_read(source: str) -> None:
    """
    Raises:
        UsageError: the ending is that of a format which is known and not read.
    """
    plain = source.lower().rstrip("/").removesuffix(".gz")
    for endings, (what, instead) in NOT_READ.items():
        if plain.endswith(endings):
            raise UsageError(f"{source}: {what}, which is not read; {instead}")


def _ending_in(filesystem: pafs.FileSystem, folder: str, source: str) -> str:
    infos = filesystem.get_file_info(pafs.FileSelector(folder, recursive=True))
    names = [info.path for info in infos if info.is_file]
    found = [ending for ending in IN_FOLDERS if any(name.endswith(ending) for name in names)]
    if not found and (others := [ending for ending in ALONE_IN_FOLDERS if any(n.endswith(ending) for n in names)]):
        return others[0]
    if not found:
        raise DataError(
            f"{source}: a folder without {', '.join([*IN_FOLDERS, *ALONE_IN_FOLDERS])} files; other formats are read "
            "file by file"
        )
    if len(found) > 1:
        raise DataError(
            f"{source}: a folder with {' and '.join(found)} files; choose with a glob such as {source}/*{found[0]}"
        )
    return found[0]


def import_features(
    source: str | Path,
    target: str | Path,
    choice: ColumnChoice | None = None,
    *,
    beside: TablesBeside | None = None,
    describe: dict[str, str] | None = None,
    progress: Progress = silent,
) -> ImportSummary:
    """Reads features in any known format and writes them as FEATURES, streaming.

    Args:
        source: a file, or for Parquet, delimited text and esm-extract also a folder or a glob.
        target: one file if it ends in .parquet, else a folder of files.
        choice: which columns are what, where the defaults do not find them.
        beside: tables whose labels or columns are joined to the rows of the source, which is then read twice.
        describe: what produced the features (model, layer, pooling, …), kept in the Parquet metadata.
        progress: told the rows written so far.

    Raises:
        DataError: the source holds something that is not FEATURES; nothing is written.
        UsageError: an unknown format, a column that is not there, a target that is, a library that is not installed.
    """
    source, path, choice = str(source), place_to_write(target), choice or ColumnChoice()
    path.refuse_existing()
    refuse_inside(path, source)
    with closing(_joined(source, choice, beside or TablesBeside())) as batches:
        first = next(batches, None)
        if first is None:
            raise DataError(f"{source}: it holds no rows")
        provenance = import_provenance(first.found, source, describe)
        with path.staged_file() if path.suffix == SUFFIX else path.staged_folder() as staging:
            with FeaturesWriter(staging, first.features.shape[1], provenance) as writer:
                _copy(first, batches, writer, source, progress)
            _require_unique_ids(staging, source, first.found)
    names = tuple(first.others.column_names)
    return ImportSummary(str(path), writer.rows, writer.dim, LABEL in names, names, dict(first.found))


def import_provenance(found: Mapping[str, str], source: str, describe: Mapping[str, str] | None) -> dict[str, str]:
    """The origin of imported features, for the Parquet metadata.

    Args:
        found: see `FeatureBatch`.
        describe: see `import_features`.
    """
    return {**found, "source": Path(source).name, **(describe or {})}


def read_features(source: str, choice: ColumnChoice) -> Generator[FeatureBatch, None, None]:
    """The rows of a source in any known format, in order; reads formats that could crash a library in another process.

    Raises:
        DataError: the source holds something that is not FEATURES.
        UsageError: an unknown format, a column that is not there, a library that is not installed.
    """
    read = chosen_reader(source, choice)
    batches = read_apart(read, source, choice) if read in APART else read(source, choice)
    yield from batches if choice.ids is None else _with_ids(batches, source, choice.ids)


def _joined(source: str, choice: ColumnChoice, beside: TablesBeside) -> Generator[FeatureBatch, None, None]:
    """The rows of a source with the columns of the tables beside it."""
    if not beside:
        yield from read_features(source, choice)
        return
    own = replace(choice, label_column=None) if beside.has_labels(choice.label_column) else choice
    with closing(read_features(source, own)) as batches:
        rows = SourceRows.of(source, batches, ids_kept=choice.ids is not None)
    tables = beside.joined_to(rows, choice.label_column if own is not choice else None)
    start = 0
    with closing(read_features(source, own)) as batches:
        for batch in batches:
            whole = batch
            for kind, table in tables.items():
                whole = table.attach(whole, start, kind)
            start += len(batch)
            yield whole


def _with_ids(batches: Iterator[FeatureBatch], source: str, ids: str) -> Iterator[FeatureBatch]:
    """The rows with their numbers as ids, or with ids from a file in row order."""
    given = None if ids == ROWS else ListedIds(ids, source)
    rows = 0
    for batch in batches:
        own = numbers_from(rows, len(batch)) if given is None else given.take(len(batch))
        rows += len(batch)
        yield replace(batch, ids=own, found={**batch.found, IDS_KEY: ROW_NUMBERS if given is None else Path(ids).name})
    if given is not None:
        given.require_end(rows)


def chosen_reader(source: str, choice: ColumnChoice) -> FeatureReader:
    """The reader of a source.

    Raises:
        DataError, UsageError: see `reader_for`; or a choice that its format does not have.
    """
    if choice.ids is not None and choice.id_column is not None:
        raise UsageError(f"--ids {choice.ids}: --id-column {choice.id_column} says where the ids are; give one of them")
    reader = reader_for(source)
    for option, only in OWN_CHOICES.items():
        if getattr(choice, option) is not None and reader not in only:
            endings = ", ".join(e for e, known in READERS.items() if known in only and not e.endswith(".gz"))
            raise UsageError(f"{source}: --{option} {getattr(choice, option)}: it chooses in {endings} files alone")
    return reader


def _copy(
    first: FeatureBatch,
    batches: Iterator[FeatureBatch],
    writer: FeaturesWriter,
    source: str,
    progress: Progress,
) -> None:
    writer.write(first)
    for batch in batches:
        if batch.features.shape[1] != writer.dim:
            raise DataError(
                f"{source}: row {writer.rows + 1}: a vector of {batch.features.shape[1]} numbers, but {writer.dim} in "
                "the rows before; all vectors must have one width"
            )
        writer.write(batch)
        progress(writer.rows, None)


def _require_unique_ids(written: Path, source: str, found: Mapping[str, str]) -> None:
    try:
        features = Features.open(written, ColumnChoice(id_column=ID))
        require_unique_ids(features.ids, source, rows=features.rows)
    except DataError as error:
        if (where := found.get(IDS_KEY)) is not None:
            raise DataError(f"{error}; ids: {where}; choose others with --id-column or --ids") from None
        filesystem, place = locate(source)
        if filesystem.get_file_info(place).type != pafs.FileType.Directory:
            raise
        raise DataError(f"{error}; if its folders or files are layers or poolings, import one of them") from None
