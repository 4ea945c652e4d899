"""LATENTS as HDF5, as bio_embeddings, biotrainer and protspace read it: one data set per protein.

Each data set is the `z` (Z) of a protein. Its attributes are the id (`original_id`) and, if known, label and
reconstruction error. Other columns are left out.
"""

from pathlib import Path
from typing import Any

from resvae_ray import names
from resvae_ray.encode.encoded_parts import EncodedParts, matrix_of, texts

MODEL_NAME = "model_name"  # attribute of the file, which protspace asks for


def write_hdf5(parts: EncodedParts, target: Path) -> None:
    """Writes the data sets in the order of the rows; the file keeps that order."""
    import h5py

    attributes = [name for name in (names.LABEL, names.RECON_ERROR) if name in parts.schema.names]
    with h5py.File(target, "w", track_order=True) as file:
        file.attrs[MODEL_NAME] = "resvae_ray"
        file.attrs["model"], file.attrs["weights"] = parts.model, parts.weights
        row = 0
        for batch in parts.batches([names.ID, names.LATENT, *attributes]):
            ids, z = texts(batch.column(names.ID)), matrix_of(batch.column(names.LATENT))
            columns = {name: batch.column(name).to_pylist() for name in attributes}
            for position, protein in enumerate(ids):
                data_set = file.create_dataset(_key(file, str(protein), row + position), data=z[position])
                data_set.attrs["original_id"] = str(protein)
                for name, values in columns.items():
                    if values[position] is not None:
                        data_set.attrs[name] = values[position]
            row += len(ids)


def _key(file: Any, protein: str, row: int) -> str:
    """The id where HDF5 can name a data set so, else one made of the number of the row."""
    if protein not in (".", "") and "/" not in protein and "\0" not in protein and protein not in file:
        return protein
    key = f"row {row}"
    while key in file:
        key += "_"
    return key
