"""Every format of LATENTS in one file, by the ending of its name. Without such an ending, LATENTS are a folder.

A writer is a function `write(parts, target)`, which writes the finished parts to a staged path. To add a format, write
its file and add its line to FORMATS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from resvae_ray.data.features import Features
from resvae_ray.encode.encoded_parts import FURTHER_VECTORS, EncodedParts, refuse_unfit
from resvae_ray.encode.writers.anndata_writer import write_anndata
from resvae_ray.encode.writers.hdf5_writer import write_hdf5
from resvae_ray.encode.writers.npz_writer import write_npz
from resvae_ray.encode.writers.parquet_writer import write_parquet
from resvae_ray.encode.writers.protspace_writer import write_protspace
from resvae_ray.encode.writers.text_writer import write_csv, write_tsv
from resvae_ray.errors import UsageError
from resvae_ray.extras import require
from resvae_ray.files.place import Place


@dataclass(frozen=True)
class Format:
    """A format of LATENTS.

    Attributes:
        write: writes the parts to a staged path.
        ids_and_z: whether it holds one vector per protein, so that further vectors, and columns other than scalars,
            have no place in it.
        any_column: whether it holds columns of any type.
        needs_h5py: whether h5py, of the extra `import`, writes it.
    """

    write: Callable[[EncodedParts, Path], None]
    ids_and_z: bool = False
    any_column: bool = False
    needs_h5py: bool = False

    def require_holds(self, features: Features, further: list[str], target: Place) -> None:
        """
        Args:
            further: columns of vectors that are written besides z.

        Raises:
            UsageError: h5py is not installed, or the format has no place for `further`.
            DataError: it has no place for a column of the features.
        """
        if self.needs_h5py:
            require("import", "h5py")
        if self.ids_and_z and (wanted := [name for name in FURTHER_VECTORS if name in further]):
            raise UsageError(
                f"{target}: a {target.suffix} file holds one vector per protein, so {wanted[0]!r} has no place in it; "
                "choose LATENTS that end in .parquet, .npz or .h5ad"
            )
        if not (self.any_column or self.ids_and_z):
            refuse_unfit(features.schema, features.layout.others, target, target.suffix)


FORMATS: dict[str, Format] = {
    ".parquet": Format(write_parquet, any_column=True),
    ".csv": Format(write_csv),
    ".tsv": Format(write_tsv),
    ".npz": Format(write_npz),
    ".h5": Format(write_hdf5, ids_and_z=True, needs_h5py=True),
    ".h5ad": Format(write_anndata, needs_h5py=True),
    ".parquetbundle": Format(write_protspace, ids_and_z=True),
}
