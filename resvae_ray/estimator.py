"""A Res-VAE as a scikit-learn transformer, for pipelines and grid searches.

    latents = ResVAETransformer(n_components=18, random_state=0).fit_transform(X)      # (rows, D) to (rows, 18)

It trains in this process, without Ray, as a trial of a search does; `search=True` runs a whole search instead.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch

from resvae_ray import names
from resvae_ray._version import __version__
from resvae_ray.config import Config, TrainingConfig, pinned, typed_field
from resvae_ray.config_file import load_config
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.schema import FeatureBatch, numbers_from
from resvae_ray.data.splitting.split import split_features
from resvae_ray.data.stream import ResidentRows
from resvae_ray.errors import UsageError
from resvae_ray.extras import how_to_get
from resvae_ray.files.hub import fetch, is_hub_name
from resvae_ray.files.place import AnyPath, LocalPlace, Place, place
from resvae_ray.model.network import ResVAE
from resvae_ray.model.pretrained import read_model_config
from resvae_ray.model.training import Training

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_array, check_is_fitted, validate_data
except ModuleNotFoundError:
    raise UsageError(f"ResVAETransformer needs scikit-learn; {how_to_get('insight')}") from None

BLOCK_ROWS = 4096  # that go through the network at a time
FEWEST_ROWS = 3  # two to train on, one to validate
SEEDS = 2**31 - 1
PRECISIONS: Any = [np.float64, np.float32]  # in which latents are computed
ABOUT = "estimator"  # in config.json of a MODEL: what the estimator was given


class ResVAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Compresses features to the latents of a Res-VAE.

    X is an array (rows, D), a DataFrame, or an AnnData, of which `X` is read, or `obsm[obsm]`.

    Args:
        n_components: number of latents. With nested latents, the first of those that the model has.
        config: a Config, a scenario or a TOML file; without `search`, [training] alone counts.
        training: fields of [training] that replace those of `config`, such as {"lr": 1e-3}.
        epochs: passes over the training rows; None takes those of `config`.
        val_fraction: fraction of the rows that choose the best epoch and are not trained on.
        device: where the model is trained; None takes a GPU if there is one.
        search: run a search (`tune`) instead of one training; needs Ray.
        obsm: key of the matrix in `obsm` of an AnnData; None reads its X.
        random_state: of the split, the initial weights, the order of the rows and the noise.

    Attributes:
        model_: the trained ResVAE, on the CPU.
        n_components_: number of latents that `transform` gives.
        n_features_in_: D.
        best_epoch_: the epoch whose weights `model_` has.
        best_val_loss_: its validation loss.
    """

    n_features_in_: int
    feature_names_in_: np.ndarray

    def __init__(
        self,
        n_components: int = 18,
        *,
        config: Config | str | Path = "recommended",
        training: Mapping[str, Any] | None = None,
        epochs: int | None = None,
        val_fraction: float = 0.2,
        device: str | None = None,
        search: bool = False,
        obsm: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.config = config
        self.training = training
        self.epochs = epochs
        self.val_fraction = val_fraction
        self.device = device
        self.search = search
        self.obsm = obsm
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Trains a model on the rows of X; `y` is ignored.

        Raises:
            UsageError: a parameter that cannot be meant.
            ValueError: X is not finite numbers (rows, D), or has fewer than three rows.
            JobError: the training diverged, or the search failed.
        """
        matrix: Any = validate_data(self, self._table(X), dtype=np.float32, ensure_min_samples=FEWEST_ROWS)
        config = self._resolved()
        seed = int(check_random_state(self.random_state).randint(SEEDS))
        self.model_, metrics = (self._searched if self.search else self._trained)(matrix, config, seed)
        self.n_components_ = self.n_components
        self.best_epoch_, self.best_val_loss_ = int(metrics[names.BEST_EPOCH]), float(metrics[names.BEST_VAL_LOSS])
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The posterior means (rows, n_components), in the precision of X."""
        check_is_fitted(self, "model_")
        matrix: Any = validate_data(self, self._table(X), dtype=PRECISIONS, reset=False)
        return self._through(matrix, lambda model, x: model.encode(x)[0][:, : self.n_components_])

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Latents (rows, n_components) to features (rows, D)."""
        check_is_fitted(self, "model_")
        latents: Any = check_array(X, dtype=PRECISIONS)
        if latents.shape[1] != self.n_components_:
            raise ValueError(f"X has {latents.shape[1]} latents, but the transformer gives {self.n_components_}")
        return self._through(latents, lambda model, z: model.decode(z))

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def save_pretrained(self, path: AnyPath) -> Place:
        """Writes the model as a MODEL folder, which `encode` and `ResVAE.from_pretrained` read too.

        Raises:
            UsageError: `path` exists and is not empty.
        """
        check_is_fitted(self, "model_")
        return self.model_.save_pretrained(path, self._about())

    def push_to_hub(self, name: str, *, private: bool | None = None) -> str:
        """Uploads the model as a MODEL to the Hugging Face hub; returns the address of the commit.

        Args:
            name: `user/model`; created if it is not there.
            private: whether a new repository is private; by default as its owner has set.

        Raises:
            UsageError: an invalid hub name, or a token without write access.
            JobError: the hub cannot be reached.
        """
        check_is_fitted(self, "model_")
        return self.model_.push_to_hub(name, self._about(), private=private)

    @classmethod
    def from_pretrained(cls, path: AnyPath, *, revision: str | None = None, **params: Any) -> Self:
        """A fitted transformer from a MODEL: a folder, or `user/model` on the hub.

        Args:
            revision: branch, tag or commit on the hub; by default the newest.
            params: of the constructor; n_components is by default that of the saved transformer, else all latents.

        Raises:
            DataError: no MODEL there, or a damaged one.
            JobError: the hub cannot be reached.
        """
        home = place(fetch(str(path), (names.CONFIG_FILE, names.WEIGHTS_FILE), revision) if is_hub_name(path) else path)
        about, model = read_model_config(home), ResVAE.from_pretrained(home)
        known = about.get(ABOUT)
        known = known if isinstance(known, dict) else {}
        made = cls(**{"n_components": known.get("n_components", model.z_dim), **params})
        made.model_, made.n_features_in_, made.n_components_ = model, model.input_dim, made.n_components
        made._require_width()
        made.best_epoch_, made.best_val_loss_ = about.get(names.BEST_EPOCH), about.get(names.BEST_VAL_LOSS)
        feature_names = known.get("feature_names")
        if isinstance(feature_names, list) and len(feature_names) == model.input_dim:
            made.feature_names_in_ = np.array(feature_names, dtype=object)
        return made

    def _about(self) -> dict[str, Any]:
        """Entries of config.json."""
        feature_names = getattr(self, "feature_names_in_", None)
        return {
            "resvae_ray_version": __version__,
            names.BEST_EPOCH: self.best_epoch_,
            names.BEST_VAL_LOSS: self.best_val_loss_,
            ABOUT: {
                "n_components": self.n_components_,
                "feature_names": None if feature_names is None else feature_names.tolist(),
            },
        }

    def _table(self, X: Any) -> Any:
        """X as scikit-learn takes it: of an AnnData a DataFrame with its names, of anything else X itself.

        Raises:
            ValueError: entries are masked, of which scikit-learn would take the numbers under the mask.
        """
        if np.ma.is_masked(X):
            raise ValueError("X has masked entries; fill them with numbers, or remove their rows")
        if type(X).__name__ != "AnnData" or not hasattr(X, "obs_names"):
            return X
        import pandas as pd

        matrix = X.X if self.obsm is None else X.obsm[self.obsm]
        if matrix is None:
            raise ValueError("the AnnData has no X; say which matrix of obsm holds the features with obsm=KEY")
        dense = matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)
        columns = X.var_names if self.obsm is None else [f"{self.obsm}{place}" for place in range(dense.shape[1])]
        return pd.DataFrame(dense, index=X.obs_names, columns=columns)

    def _resolved(self) -> Config:
        """The configuration of the fit.

        Raises:
            UsageError: an unknown field of [training], or a value out of its range.
        """
        config = self.config if isinstance(self.config, Config) else load_config(self.config)
        given = dict(self.training or {}) | ({} if self.epochs is None else {"epochs": self.epochs})
        given = {name: typed_field(TrainingConfig, name, value, "training") for name, value in given.items()}
        nested = given.get("nested", config.training.nested) > 0
        widest = given.get("z_dim", config.training.z_dim) if nested else 0
        width = typed_field(TrainingConfig, "z_dim", self.n_components, "training")
        if width < 1:
            raise UsageError(f"n_components is {width}; it must be at least 1")
        given["z_dim"] = max(width, widest)
        return pinned(config, given) if self.search else replace(config, training=replace(config.training, **given))

    def _trained(self, matrix: np.ndarray, config: Config, seed: int) -> tuple[ResVAE, Mapping[str, Any]]:
        """One training on rows in memory."""
        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        sides = train_test_split(matrix, test_size=self.val_fraction, random_state=seed)
        train, val = (ResidentRows(torch.from_numpy(np.array(side)).to(device)) for side in sides)
        training = Training(config.training, train, val, seed, device)
        for _ in training.epochs():
            pass
        return training.best_model().cpu(), training.last

    def _searched(self, matrix: np.ndarray, config: Config, seed: int) -> tuple[ResVAE, Mapping[str, Any]]:
        """The best model of a search on the rows, which are written to a temporary folder."""
        from resvae_ray.search.tune import tune

        config = replace(config, search=replace(config.search, seed=seed))
        with TemporaryDirectory(prefix="resvae_ray-") as folder:
            features, dataset, run = (Path(folder) / name for name in ("features.parquet", "dataset", "run"))
            with FeaturesWriter(features, matrix.shape[1], {}) as writer:
                writer.write(FeatureBatch(numbers_from(0, len(matrix)), matrix, pa.table({})))
            split_features(features, dataset, val_fraction=self.val_fraction, seed=seed)
            home = tune(dataset, run, config).path / names.MODEL_FOLDER
            return ResVAE.from_pretrained(home), read_model_config(LocalPlace(home))

    def _require_width(self) -> None:
        width, z_dim, nested = self.n_components_, self.model_.z_dim, self.model_.nested
        if not 1 <= width <= z_dim or (width < z_dim and not nested):
            rule = f"1 to {z_dim}" if nested else f"{z_dim}, as they are not nested"
            raise UsageError(f"n_components {width}: the model has {z_dim} latents; give {rule}")

    def _through(self, matrix: np.ndarray, function: Callable[[ResVAE, torch.Tensor], torch.Tensor]) -> np.ndarray:
        """Some rows after another through the model, computed in the type of `matrix`."""
        model = self.model_
        if matrix.dtype == np.float64:
            model = deepcopy(model).double()
        with torch.inference_mode():
            blocks = (np.array(matrix[start : start + BLOCK_ROWS]) for start in range(0, len(matrix), BLOCK_ROWS))
            return np.concatenate([function(model, torch.from_numpy(block)).numpy() for block in blocks])
