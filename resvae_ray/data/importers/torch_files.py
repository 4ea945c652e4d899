"""Files of PyTorch (.pt) that hold tensors and text alone: what esm-extract writes, and what people save themselves.

Read are the folder of fair-esm's `esm-extract`, one file per protein: {"label", "mean_representations", …}; a folder of
one tensor per protein, named by its id; {id: tensor}, also with levels such as layers; a matrix, alone or beside its
ids; lists of (id, tensor) or of records; and a folder of such files, each with some of the proteins.

The id of esm-extract is the label in the file, which is the whole header line of the FASTA; a label with a slash lies
in a folder of its own. Files are read in the order of their paths, and no code in them is run.
"""

import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import fs as pafs

from resvae_ray.data.arrow_types import as_column
from resvae_ray.data.features import batch_rows
from resvae_ray.data.file_kind import refuse_pointer_at
from resvae_ray.data.importers.arrays import (
    VECTOR_MOST,
    are_named_vectors,
    as_batch,
    column_names,
    is_column,
    is_matrix,
    matrix_name,
    named_vectors,
    refuse_columns,
)
from resvae_ray.data.importers.levels import has_level
from resvae_ray.data.layout import (
    FEATURES_COLUMNS,
    ID_COLUMNS,
    LABEL_COLUMNS,
    ColumnChoice,
    find_column,
    some_names,
)
from resvae_ray.data.same_protein import are_accessions
from resvae_ray.data.schema import FeatureBatch, as_text, check_batch
from resvae_ray.errors import DataError, UsageError, first_line
from resvae_ray.files.listing import list_files
from resvae_ray.files.place import locate, reaching
from resvae_ray.names import ID

SUFFIX = ".pt"
REPRESENTATIONS = {"mean_representations", "bos_representations", "representations", "contacts"}
REFUSED = re.compile(r"GLOBAL ([\w.]+) was not an allowed global")  # in PyTorch's message
POOLINGS = {"mean_representations": "mean", "bos_representations": "cls"}  # one vector a protein


def read(source: str, choice: ColumnChoice) -> Iterator[FeatureBatch]:
    """The proteins of a folder, of the folders in it, of a glob or of one file.

    `--layer` and `--features-column` choose where the files hold several layers, or the mean and the first token.

    Raises:
        DataError: not a file of tensors, only one vector per residue, a layer that a file does not have, NaN.
        UsageError: a layer or pooling that the user named is not there, or has to be named.
    """
    filesystem, paths = files_of(source)
    content = _load(filesystem, paths[0])
    if _is_extracted(content):
        extracted = ExtractedFiles.of(filesystem, paths, content, source, choice)
        yield from extracted.rows(paths)
        return
    if choice.layer is not None:
        raise UsageError(f"{source}: --layer {choice.layer}: it chooses in files of esm-extract alone")
    whole = _file_of_many(content)
    if whole is None or (len(paths) > 1 and not _is_batch(whole)):
        yield from _read_one_per_file(filesystem, paths, source, choice)
        return
    yield from _read_many(whole, paths[0], choice)
    for path in paths[1:]:
        if (whole := _file_of_many(_load(filesystem, path))) is None:
            raise DataError(f"{path}: no vectors of several proteins, which {paths[0]} has")
        yield from _read_many(whole, path, choice)


def _is_batch(arrays: dict[str, np.ndarray]) -> bool:
    """Whether the arrays are those of several proteins, of which a folder has more in other files."""
    if are_named_vectors(arrays):
        return are_accessions(list(arrays))
    ids = find_column([name for name, array in arrays.items() if is_column(array)], ID_COLUMNS)
    return ids is not None and any(is_matrix(array) and len(array) == len(arrays[ids]) for array in arrays.values())


def _read_many(arrays: dict[str, np.ndarray], source: str, choice: ColumnChoice) -> Iterator[FeatureBatch]:
    if are_named_vectors(arrays):
        yield from named_vectors(list(arrays), arrays.__getitem__, source, choice)
    else:
        yield from _read_matrix(arrays, source, choice)


def _read_matrix(arrays: dict[str, np.ndarray], source: str, choice: ColumnChoice) -> Iterator[FeatureBatch]:
    name = matrix_name(arrays, source, choice)

    def texts(column: str) -> list[pa.Array]:
        where = f"{source}: {column!r}"
        return [as_text(pa.chunked_array([as_column(arrays[column], where)]), where)]

    whole = arrays[name]
    arrays = {other: array for other, array in arrays.items() if other != name}
    matrix = whole.reshape(len(whole), -1)
    names, found = column_names(arrays, len(matrix), texts, source, choice)
    columns = {target: as_column(arrays[column], f"{source}: {column!r}") for target, column in names.items()}
    step = batch_rows(matrix.shape[1])
    for start in range(0, len(matrix), step):
        piece = matrix[start : start + step]
        cut = {target: column.slice(start, len(piece)) for target, column in columns.items()}
        batch = as_batch(piece, start, cut, source, found)
        check_batch(batch, None, source, start + 1)
        yield batch


def _file_of_many(content: Any) -> dict[str, np.ndarray] | None:
    """The arrays of a file by the path of their names; None for what one protein has."""
    content = _by_name(content)
    if _is_plain(content):
        return {"matrix": _array(content)} if content.ndim > 1 and len(content) > 1 else None
    if isinstance(content, list | tuple) and content and all(map(_is_plain, content)):
        return {str(number): _array(tensor) for number, tensor in enumerate(content)}
    if not isinstance(content, dict):
        return None
    arrays = dict(_leaves(content, ()))
    return arrays if len(arrays) > 1 or any(array.ndim > 1 and len(array) > 1 for array in arrays.values()) else None


def _by_name(content: Any) -> Any:
    """Pairs of an id and a tensor, records with equal keys, or ids and their matrix, as a dictionary; else as it is."""
    if not isinstance(content, list | tuple) or not content:
        return content
    if all(isinstance(item, dict) for item in content) and len({tuple(item) for item in content}) == 1:
        return {key: [item[key] for item in content] for key in content[0]}
    if all(isinstance(item, list | tuple) and item and isinstance(item[0], str) for item in content):
        names = [item[0] for item in content]
        if all(len(item) == 2 and _is_plain(item[1]) for item in content) and len({*names}) == len(names):
            return dict(content)
    if len(content) == 2:
        ids, matrix = sorted(content, key=_is_plain)
        if _is_plain(matrix) and isinstance(ids, list | tuple) and {*map(type, ids)} == {str}:
            return {"ids": ids, "embeddings": matrix}
    return content


def _leaves(content: Mapping[Any, Any], above: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors and the lists of texts or numbers in dictionaries, by their path."""
    for key, value in content.items():
        path = (*above, str(key))
        if isinstance(value, dict):
            yield from _leaves(value, path)
        elif _is_plain(value):
            yield "/".join(path), _array(value)
        elif isinstance(value, list | tuple) and value and {*map(type, value)} <= {str, int, float}:
            yield "/".join(path), np.array(list(map(str, value)) if str in map(type, value) else value)
        elif isinstance(value, list | tuple) and value and all(map(_is_plain, value)):
            stack = len({tensor.shape for tensor in value}) == 1  # else vectors per residue
            yield "/".join(path), np.stack([_array(tensor) for tensor in (value if stack else value[:1])])


def _read_one_per_file(
    filesystem: pafs.FileSystem, paths: list[str], source: str, choice: ColumnChoice
) -> Iterator[FeatureBatch]:
    """The proteins of a folder with one tensor in each file; the names of the files, and of folders, are the ids."""
    root = os.path.commonpath([path.rpartition("/")[0] for path in paths])
    places = {path.removeprefix(root).strip("/").removesuffix(SUFFIX): path for path in paths}
    folders = replace(choice, features_column=_of_folders(list(places), choice))
    found: dict[str, str] = {}

    def vector(name: str) -> np.ndarray:
        content = _load(filesystem, places[name])
        if isinstance(content, dict) and (column := find_column(list(content), (*ID_COLUMNS, *LABEL_COLUMNS))):
            found[name] = content[column] if isinstance(content[column], str) else ""
        elif isinstance(content, dict) and len(content) == 1 and are_accessions(list(map(str, content))):
            found[name] = str(next(iter(content)))
        return _vector_of(content, places[name], choice)

    yield from named_vectors(list(places), vector, source, folders, lambda name: found.get(name))


def _of_folders(names: list[str], choice: ColumnChoice) -> str | None:
    """The chosen name, if it is the name of a folder, or of a layer or pooling in the names of the files."""
    wanted = choice.features_column
    return wanted if wanted is not None and has_level([tuple(name.split("/")) for name in names], wanted) else None


def _vector_of(content: Any, path: str, choice: ColumnChoice) -> np.ndarray:
    """The array of a file with one protein: its tensor, or the chosen one of a dictionary, or its only one."""
    if _is_plain(content):
        return _array(content)
    arrays = dict(_leaves(content, ())) if isinstance(content, dict) else {}
    arrays = {name: array for name, array in arrays.items() if array.dtype.kind == "f"}
    chosen = find_column(list(arrays), FEATURES_COLUMNS) or (next(iter(arrays)) if len(arrays) == 1 else None)
    chosen = choice.features_column if choice.features_column in arrays else chosen
    if chosen is None and arrays:
        raise UsageError(f"{path}: several tensors ({some_names(list(arrays))}); choose with --features-column")
    if chosen is None:
        raise DataError(f"{path}: no vector in it; expected a tensor of numbers, or a file that esm-extract wrote")
    return arrays[chosen]


def _is_plain(value: Any) -> bool:
    """Whether it is a tensor of numbers as they are: not sparse, quantised or complex."""
    import torch

    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_meta or value.is_quantized:
        return False
    return value.ndim > 0 and not value.is_complex()


def _array(tensor: Any) -> np.ndarray:
    import torch

    tensor = tensor.detach()
    return (tensor.to(torch.float32) if tensor.is_floating_point() else tensor).numpy()


def _is_extracted(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("label"), str) and bool({*content} & REPRESENTATIONS)


@dataclass(frozen=True)
class ExtractedFiles:
    """What esm-extract wrote: a file per protein.

    Attributes:
        paths: on `filesystem`, in their order.
        dim: D, of the first file.
    """

    source: str
    filesystem: pafs.FileSystem
    paths: list[str]
    pick: "_Pick"
    dim: int

    @classmethod
    def open(cls, source: str, choice: ColumnChoice) -> "ExtractedFiles | None":
        """None if the first file is not of esm-extract; see `read` for what is refused."""
        filesystem, paths = files_of(source)
        content = _load(filesystem, paths[0])
        return cls.of(filesystem, paths, content, source, choice) if _is_extracted(content) else None

    @classmethod
    def of(
        cls, filesystem: pafs.FileSystem, paths: list[str], first: Mapping[str, Any], source: str, choice: ColumnChoice
    ) -> "ExtractedFiles":
        """As `open`, with the content of the first file."""
        refuse_columns(source, choice)
        pick = _choose(first, paths[0], choice)
        return cls(source, filesystem, paths, pick, len(pick.vector(first, paths[0])))

    def rows(self, paths: list[str], start: int = 0) -> Iterator[FeatureBatch]:
        """The proteins of some of the files, in order; `start` come before them."""
        size = batch_rows(self.dim)
        for first in range(0, len(paths), size):
            ids, vectors = list[str](), list[np.ndarray]()
            for path in paths[first : first + size]:
                content = _load(self.filesystem, path)
                if not isinstance(content, dict) or not isinstance(content.get("label"), str):
                    raise DataError(f"{path}: no label; expected a file that esm-extract wrote")
                ids.append(content["label"])
                vectors.append(self.pick.vector(content, path, self.dim))
            columns = {ID: pa.array(ids, pa.string())}
            batch = as_batch(np.stack(vectors), start + first, columns, self.source, self.pick.found)
            check_batch(batch, None, self.source, start + first + 1)
            yield batch


@dataclass(frozen=True)
class _Pick:
    """Which vector of a file is read."""

    pooling: str
    layer: int

    @property
    def found(self) -> dict[str, str]:
        return {"layer": str(self.layer), "pooling": POOLINGS[self.pooling]}

    def vector(self, content: Mapping[str, Any], path: str, dim: int | None = None) -> np.ndarray:
        """The chosen vector (D) of a file.

        Raises:
            DataError: the file lacks it, or its length differs from `dim`, that of the files before.
        """
        import torch

        tensor = content[self.pooling].get(self.layer) if isinstance(content.get(self.pooling), dict) else None
        if tensor is None:
            raise DataError(f"{path}: no layer {self.layer} in {self.pooling}, which the files before have")
        plain = isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided and not tensor.is_meta
        plain = plain and tensor.is_floating_point()  # not complex, not quantised
        if not plain or tensor.ndim != 1 or not 0 < len(tensor) <= VECTOR_MOST:
            what = type(tensor).__name__
            if isinstance(tensor, torch.Tensor):
                what = f"a tensor of shape {tuple(tensor.shape)} and type {tensor.dtype}"
            raise DataError(f"{path}: {self.pooling}[{self.layer}] is {what}; expected one vector of numbers")
        if dim is not None and len(tensor) != dim:
            raise DataError(
                f"{path}: a vector of {len(tensor)} numbers, but {dim} in the files before; "
                "all vectors must have one width"
            )
        return tensor.detach().to(torch.float32).numpy()


def _choose(content: Mapping[str, Any], path: str, choice: ColumnChoice) -> _Pick:
    pooling = _choose_pooling(content, path, choice.features_column)
    if not all(isinstance(layer, int) for layer in content[pooling]):
        raise DataError(f"{path}: {pooling} of {some_names(list(content[pooling]))}; layers are whole numbers")
    layers = sorted(content[pooling])
    if choice.layer is not None and choice.layer not in layers:
        raise UsageError(f"{path}: --layer {choice.layer}: no such layer in {pooling}; there are {some_names(layers)}")
    if choice.layer is None and len(layers) > 1:
        raise UsageError(f"{path}: {pooling} of the layers {some_names(layers)}; choose with --layer")
    return _Pick(pooling, layers[0] if choice.layer is None else choice.layer)


def _choose_pooling(content: Mapping[str, Any], path: str, wanted: str | None) -> str:
    there = [name for name in POOLINGS if isinstance(content.get(name), dict) and content[name]]
    if wanted is not None and wanted not in there:
        raise UsageError(f"{path}: --features-column {wanted}: not in the file; there are {some_names(there)}")
    if not there:
        raise DataError(
            f"{path}: no vector a protein, it has {some_names(list(content))}; run esm-extract with "
            "--include mean, or bos for the first token"
        )
    if wanted is None and len(there) > 1:
        raise UsageError(f"{path}: it has {' and '.join(there)}; choose one with --features-column")
    return wanted or there[0]


def files_of(source: str) -> tuple[pafs.FileSystem, list[str]]:
    """The files in the order of their paths; also those whose names begin with '.' or '_', as labels may."""
    filesystem, place = locate(source)
    with reaching(source):
        if filesystem.get_file_info(place).type != pafs.FileType.Directory:
            return list_files(source, SUFFIX)
        infos = filesystem.get_file_info(pafs.FileSelector(place, recursive=True))
    if not (paths := sorted(info.path for info in infos if info.is_file and info.path.endswith(SUFFIX))):
        raise DataError(f"{source}: no {SUFFIX} file there")
    return filesystem, paths


def _require_sound_archive(file: pa.NativeFile) -> None:
    """The checksums of an archive, which PyTorch does not look at; before 1.6 it wrote none.

    Raises:
        ValueError: one is wrong, or the archive is compressed: PyTorch does not write such files.
    """
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if sum(info.file_size for info in archive.infolist()) > file.size():
                raise ValueError("a packed archive")
            if (name := archive.testzip()) is not None:
                raise ValueError(f"the checksum of {name} is wrong")
    file.seek(0)


def _load(filesystem: pafs.FileSystem, path: str) -> Any:
    """
    Raises:
        DataError: not a file of tensors.
    """
    import torch

    try:
        with filesystem.open_input_file(path) as file:
            _require_sound_archive(file)
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile pickle makes torch raise whatever it likes
        refuse_pointer_at(filesystem, path)
        raise DataError(
            f"{path}: not a readable file of tensors alone, and nothing else is loaded: {_why(error)}"
        ) from None
    if _are_weights(content):
        raise DataError(f"{path}: the weights of a network; expected features of proteins")
    return content


def _are_weights(content: Any) -> bool:
    """Whether it is the state of a network, alone or among other parts of a checkpoint."""
    parts = [content, *content.values()] if isinstance(content, dict) else []
    return any(str(name).endswith(".weight") for part in parts if isinstance(part, dict) for name in part)


def _why(error: Exception) -> str:
    """Names the content that is not a tensor; PyTorch's own message has several lines and advises to trust the file."""
    line = first_line(error)
    if (found := REFUSED.search(str(error))) is None:
        return line if not line.startswith("Weights only") else "what it holds would run code"
    if found[1].startswith("numpy."):
        what = "a NumPy array" if found[1].endswith("_reconstruct") else "single values of NumPy"
        return f"it holds {what}; save arrays as .npy, .npz or tensors (torch.from_numpy), and texts as plain str"
    return f"it holds a {found[1]}; save its numbers as tensors"
