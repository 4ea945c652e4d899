"""LATENTS of some rows: what they hold, and how a model makes them."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from resvae_ray import names
from resvae_ray.data.schema import FeatureBatch, required_columns, vectors
from resvae_ray.errors import DataError, UsageError
from resvae_ray.files.place import Place, place
from resvae_ray.model.axes import Axes


@dataclass(frozen=True)
class Output:
    """The content of LATENTS, besides the ids and the passed-through columns.

    Attributes:
        sample: draw `z` from the posterior instead of taking its mean.
        seed: seed of the draws.
        logvar: also write the logarithm of the posterior variance.
        recon_error: also write the squared error of each protein's reconstruction from `z`.
        decoded: also write that reconstruction, D numbers per protein in units of the features.
        latents: number of leading latents to write, if the model's latents are nested; 0 writes all.
    """

    sample: bool = False
    seed: int = 0
    logvar: bool = False
    recon_error: bool = False
    decoded: bool = False
    latents: int = 0

    def __post_init__(self) -> None:
        if self.latents < 0:
            raise UsageError(f"latents is {self.latents}; 0 writes all, else it must be at least 1")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: it must be 0 or above")

    def record(self) -> dict[str, Any]:
        """The options as `_encoding.json` keeps them; newer ones only where set, so that older jobs resume."""
        newer = (names.DECODED, "latents")
        return {name: value for name, value in asdict(self).items() if name not in newer or value}

    def vectors(self, axes: bool) -> list[str]:
        """The columns of vectors besides z.

        Args:
            axes: whether scores along axes are among them.
        """
        asked = {names.AXES: axes, names.LOGVAR: self.logvar, names.DECODED: self.decoded}
        return [name for name, wanted in asked.items() if wanted]

    def provenance(self, weights: str) -> dict[str, Any]:
        """Entries for the Parquet metadata of LATENTS: which model made `decoded`, and from which latents.

        Args:
            weights: hash of the model's weights.
        """
        if not self.decoded:
            return {}
        latents = f"posterior sample, seed {self.seed}" if self.sample else "posterior mean"
        return {names.DECODED: {"from": latents, "weights": weights}}

    def require_fits(self, config: Mapping[str, Any], model: object) -> None:
        """
        Args:
            config: config.json of the MODEL.
            model: where it is, for the error.

        Raises:
            UsageError: the model cannot give the first `latents` latents alone.
        """
        most, wanted = config["z_dim"], self.latents
        if wanted > most:
            raise UsageError(f"--latents {wanted}: {model} has {most} latents; give 1 to {most}")
        if wanted not in (0, most) and not config.get("nested", False):
            raise UsageError(
                f"--latents {wanted}: the {most} latents of {model} are not nested, so the first {wanted} are not a "
                "code; leave --latents out, or train a model with `tune --config recommended`"
            )


def weights_hash(model: Place) -> str:
    """Hash of the weights in a MODEL, to detect that they have been replaced."""
    return hashlib.blake2b((model / names.WEIGHTS_FILE).read_bytes(), digest_size=16).hexdigest()


@lru_cache(maxsize=1)
def kept_model(path: str, weights: str) -> Any:
    """The model, kept for the next unit in this process, which may be one of a later job.

    Args:
        weights: their hash.

    Raises:
        DataError: other weights are there by now.
    """
    import torch

    from resvae_ray.model.network import ResVAE

    if weights_hash(place(path)) != weights:
        raise DataError(f"{path}: was replaced during encoding; run the same command again")
    return ResVAE.from_pretrained(path).to("cuda" if torch.cuda.is_available() else "cpu")


def latents_table(model: Any, batch: FeatureBatch, output: Output, seed: int, axes: Axes | None = None) -> pa.Table:
    """LATENTS of some rows: id, z, what `output` asks for, then the columns that pass through.

    Args:
        model: a ResVAE in eval mode.
        seed: of the draws, if any.
        axes: along which z is also written.
    """
    import torch

    from resvae_ray.model.loss import squared_error

    device = next(model.parameters()).device
    with torch.inference_mode():
        x = torch.tensor(batch.features, device=device)
        z, logvar = model.encode(x)
        if output.sample:
            noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed))
            z = model.reparameterize(z, logvar, noise.to(device))
        if output.latents:
            z, logvar = z[:, : output.latents], logvar[:, : output.latents]
        columns = {names.ID: batch.ids, names.LATENT: vectors(z.cpu().numpy())}
        if axes is not None:
            columns[names.AXES] = vectors(axes.scores(z.double().cpu().numpy()).astype(np.float32))
        if output.logvar:
            columns[names.LOGVAR] = vectors(logvar.cpu().numpy())
        if output.recon_error or output.decoded:
            reconstruction = model.decode(z)
            if output.recon_error:
                columns[names.RECON_ERROR] = pa.array(squared_error(reconstruction, x).cpu().numpy())
            if output.decoded:
                columns[names.DECODED] = vectors(reconstruction.cpu().numpy())
    if taken := sorted(set(columns) & set(batch.others.column_names)):
        raise DataError(f"the features have a column {taken[0]!r}, which the latents need for themselves; rename it")
    table = required_columns(columns)
    for name in batch.others.column_names:
        table = table.append_column(batch.others.schema.field(name), batch.others.column(name))
    return table
