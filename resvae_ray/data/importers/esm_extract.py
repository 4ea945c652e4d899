"""The folder of .pt files that fair-esm's `esm-extract` writes, one a protein: {"label", "mean_representations", …}.

The id is the label in the file, which is the whole header line of the FASTA; a label with a slash lies in a folder of
its own. Files are read in the order of their paths, and no code in them is run.
"""

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import fs as pafs

from resvae_ray.data.features import batch_rows
from resvae_ray.data.file_kind import refuse_pointer_at
from resvae_ray.data.importers.arrays import VECTOR_MOST, as_batch, refuse_columns
from resvae_ray.data.layout import ColumnChoice, some_names, some_numbers
from resvae_ray.data.schema import FeatureBatch, check_batch
from resvae_ray.errors import DataError, UsageError, first_line
from resvae_ray.files.listing import list_files
from resvae_ray.files.place import locate, reaching
from resvae_ray.names import ID

SUFFIX = ".pt"
POOLINGS = {"mean_representations": "mean", "bos_representations": "cls"}  # one vector a protein


def read(source: str, choice: ColumnChoice) -> Iterator[FeatureBatch]:
    """The proteins of a folder, of the folders in it, of a glob or of one file.

    `--layer` and `--features-column` choose where the files hold several layers, or the mean and the first token.

    Raises:
        DataError: not a file of esm-extract, only a vector a residue, a layer that a file does not have, NaN.
        UsageError: a layer or pooling that the user named is not there, or has to be named.
    """
    refuse_columns(source, choice)
    filesystem, paths = _list(source)
    pick: _Pick | None = None
    ids: list[str] = []
    vectors: list[np.ndarray] = []
    start = 0
    for path in paths:
        content = _load(filesystem, path)
        pick = pick or _choose(content, path, choice)
        ids.append(content["label"])
        vectors.append(pick.vector(content, path, vectors))
        if len(ids) == batch_rows(len(vectors[0])) or path == paths[-1]:
            batch = as_batch(np.stack(vectors), start, {ID: pa.array(ids, pa.string())}, source, pick.found)
            check_batch(batch, None, source, start + 1)
            start += len(ids)
            ids, vectors = [], []
            yield batch


@dataclass(frozen=True)
class _Pick:
    """Which vector of a file is read."""

    pooling: str
    layer: int

    @property
    def found(self) -> dict[str, str]:
        return {"layer": str(self.layer), "pooling": POOLINGS[self.pooling]}

    def vector(self, content: Mapping[str, Any], path: str, before: list[np.ndarray]) -> np.ndarray:
        """The chosen vector (D) of a file.

        Raises:
            DataError: the file does not have it, or it is no vector as long as those `before`.
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
        if before and len(tensor) != len(before[0]):
            raise DataError(
                f"{path}: a vector of {len(tensor)} numbers, but {len(before[0])} in the files before; "
                "all vectors must have one width"
            )
        return tensor.detach().to(torch.float32).numpy()


def _choose(content: Mapping[str, Any], path: str, choice: ColumnChoice) -> _Pick:
    pooling = _choose_pooling(content, path, choice.features_column)
    if not all(isinstance(layer, int) for layer in content[pooling]):
        raise DataError(
            f"{path}: {pooling} of {some_names(list(map(str, content[pooling])))}; layers are whole numbers"
        )
    layers = sorted(content[pooling])
    if choice.layer is not None and choice.layer not in layers:
        raise UsageError(
            f"{path}: --layer {choice.layer}: no such layer in {pooling}; there are {some_numbers(layers)}"
        )
    if choice.layer is None and len(layers) > 1:
        raise UsageError(f"{path}: {pooling} of the layers {some_numbers(layers)}; choose with --layer")
    return _Pick(pooling, layers[0] if choice.layer is None else choice.layer)


def _choose_pooling(content: Mapping[str, Any], path: str, wanted: str | None) -> str:
    there = [name for name in POOLINGS if isinstance(content.get(name), dict) and content[name]]
    if wanted is not None and wanted not in there:
        raise UsageError(f"{path}: --features-column {wanted}: not in the file; there are {some_names(there)}")
    if not there:
        raise DataError(
            f"{path}: no vector a protein, it has {some_names(list(map(str, content)))}; run esm-extract with "
            "--include mean, or bos for the first token"
        )
    if wanted is None and len(there) > 1:
        raise UsageError(f"{path}: it has {' and '.join(there)}; choose one with --features-column")
    return wanted or there[0]


def _list(source: str) -> tuple[pafs.FileSystem, list[str]]:
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
        ValueError: one is wrong, or the archive is packed: what unpacks to any size is no file of PyTorch's.
    """
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if sum(info.file_size for info in archive.infolist()) > file.size():
                raise ValueError("a packed archive")
            if (name := archive.testzip()) is not None:
                raise ValueError(f"the checksum of {name} is wrong")
    file.seek(0)


def _load(filesystem: pafs.FileSystem, path: str) -> Mapping[str, Any]:
    """
    Raises:
        DataError: not a file of tensors with a label.
    """
    import torch

    try:
        with filesystem.open_input_file(path) as file:
            _require_sound_archive(file)
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile pickle makes torch raise whatever it likes
        refuse_pointer_at(filesystem, path)
        reason = first_line(error)
        raise DataError(f"{path}: not a readable file of tensors alone, and nothing else is loaded: {reason}") from None
    if not isinstance(content, dict) or not isinstance(content.get("label"), str):
        raise DataError(f"{path}: no label; expected a file that esm-extract wrote")
    return content
