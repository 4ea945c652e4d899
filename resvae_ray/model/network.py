"""The residual VAE of yujuan-zhang/feature-representation-for-LLMs, parameter for parameter.

    model = ResVAE(input_dim=1280, hidden_dim=859, z_dim=18)
    reconstruction, mu, logvar = model(x)                  # (B, D), (B, Z), (B, Z)

Parameter names (`fc1`, `bn1`, `resblock1.fc`, …, `fc4`) and the order in which layers are made are those of the
published class: its weights load here, and equal seeds give equal initial weights.

With `linear="pca"` a linear path runs beside the network, on features centred and scaled by one number. It begins as
PCA of the training rows, and the network learns what PCA leaves (PCA-boosted autoencoders, arXiv:2205.11673).
With `nested=True` the latents are ordered by worth: the first k of `z` are a code of their own (nested dropout, Rippel,
Gelbart & Adams 2014; Matryoshka representations, Kusupati et al. 2022, arXiv:2205.13147). With `conditioned=True` the
decoder receives k.
"""

import math
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from resvae_ray import names
from resvae_ray.config import LINEAR_PATHS, TrainingConfig
from resvae_ray.errors import UsageError
from resvae_ray.files.hub import fetch, is_hub_name, require_hub_name
from resvae_ray.files.place import AnyPath, Place, place, place_to_write
from resvae_ray.model.linear import Linear
from resvae_ray.model.pretrained import nothing_else, push_to_hub, read_bundle, write_bundle
from resvae_ray.model.tensor_file import load_weights, require_fit


class ResidualBlock(nn.Module):
    """Linear, batch norm, leaky ReLU and dropout, beside a linear short cut where the widths differ."""

    def __init__(self, in_dim: int, out_dim: int, dropout: float) -> None:
        super().__init__()
        self.fc = Linear(in_dim, out_dim)
        self.bn = nn.BatchNorm1d(out_dim)
        self.dropout = nn.Dropout(dropout)
        self.downsample = Linear(in_dim, out_dim) if in_dim != out_dim else None

    def forward(self, x: torch.Tensor, film: "Film | None" = None) -> torch.Tensor:
        """(B, in_dim) to (B, out_dim); `film` has a gain and a shift for each unit."""
        out = self.dropout(F.leaky_relu(modulated(self.bn(self.fc(x)), film)))
        return out + (x if self.downsample is None else self.downsample(x))


Film = tuple[torch.Tensor, torch.Tensor]  # what is added to a gain of 1, and a shift, both (B, units)


def modulated(h: torch.Tensor, film: Film | None) -> torch.Tensor:
    """`h` (B, units) with gain and shift."""
    return h if film is None else h * (1 + film[0]) + film[1]


class FilmOfPrefix(nn.Module):
    """Gain and shift of the decoder's units by the number k of latents that it gets (FiLM, arXiv:1709.07871).

    They are learned at k = 1, 2, 4, … below Z, and lie between these in proportion to log k. The decoder of all Z is as
    without them.

    Args:
        z_dim: Z.
        units: of each layer that is modulated.
    """

    hats: torch.Tensor

    def __init__(self, z_dim: int, units: tuple[int, ...]) -> None:
        super().__init__()
        knots = 2.0 ** torch.arange(max(1, math.ceil(math.log2(z_dim))))
        ends = torch.cat([knots, torch.tensor([max(2.0, z_dim)])]).log()
        logs = torch.arange(1, z_dim + 1).log()[:, None]
        rising = (logs - ends[:-1]) / ends.diff()  # 0 at a knot, 1 at the next one
        hats = (1 - rising).clamp(0, 1)
        hats[:, 1:] = torch.minimum(hats[:, 1:], rising[:, :-1].clamp(0, 1))
        hats[-1] = 0  # exactly
        self.register_buffer("hats", hats, persistent=False)  # (Z, knots)
        self.weight = nn.Parameter(torch.zeros(len(knots), 2 * sum(units)))
        self._sizes = [size for size in units for _ in range(2)]

    def forward(self, k: torch.Tensor) -> list[Film]:
        """The numbers (B) of latents to gain and shift of each layer."""
        parts = (self.hats[k - 1] @ self.weight).split(self._sizes, 1)
        return list(zip(parts[::2], parts[1::2], strict=True))


class Scaling(nn.Module):
    """Constants of a network with a linear path, which are saved with its weights.

    Attributes:
        mean, scale: (D) and (); the network sees features less their mean, divided by one number for all of them.
        spread: (Z), the prior's standard deviation of each latent. Latents are amounts of scaled features, as scores of
            principal components are, so that distances between them say how much proteins differ.
        logvar: (Z), the log of the posterior's variance relative to the prior's, before the network adds to it.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    spread: torch.Tensor
    logvar: torch.Tensor

    def __init__(self, dim: int, z_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("spread", torch.ones(z_dim))
        self.register_buffer("logvar", torch.zeros(z_dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, D) to (B, D)."""
        return (x - self.mean) / self.scale

    def back(self, x: torch.Tensor) -> torch.Tensor:
        """The inverse of `forward`."""
        return torch.addcmul(self.mean, x, self.scale)


class ResVAE(nn.Module):
    """Encoder D to Z through hidden_dim, hidden_dim / 2 and / 4; the decoder goes the same way back.

    The input is not normalised and the output has no activation, as in the paper.

    Args:
        input_dim: D, the width of the features.
        hidden_dim: units of the first encoder and the last decoder layer, at least 4.
        z_dim: Z, the number of latents.
        dropout: probability, in training mode.
        linear: "none", or "pca" for a linear path beside the network.
        nested: whether the first k latents are a code for every k; says how the model is trained.
        conditioned: whether the decoder of nested latents receives k.

    Raises:
        UsageError: a width that leaves a layer without units, or an unknown linear path.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        z_dim: int,
        dropout: float = 0.3,
        *,
        linear: str = "none",
        nested: bool = False,
        conditioned: bool = False,
    ) -> None:
        super().__init__()
        if linear not in LINEAR_PATHS:
            raise UsageError(f"linear is {linear!r}; expected {' or '.join(LINEAR_PATHS)}")
        if input_dim < 1 or z_dim < 1:
            raise UsageError(f"input_dim {input_dim} and z_dim {z_dim} must be at least 1")
        if hidden_dim < 4:
            raise UsageError(f"hidden_dim {hidden_dim}: the network divides it by 4; it must be at least 4")
        half, quarter = hidden_dim // 2, hidden_dim // 4
        self.input_dim, self.hidden_dim, self.z_dim = input_dim, hidden_dim, z_dim
        self.fc1 = Linear(input_dim, hidden_dim)
        self.bn1 = nn.BatchNorm1d(hidden_dim)
        self.dropout1 = nn.Dropout(dropout)
        self.resblock1 = ResidualBlock(hidden_dim, half, dropout)
        self.resblock2 = ResidualBlock(half, quarter, dropout)
        self.fc21 = Linear(quarter, z_dim)
        self.fc22 = Linear(quarter, z_dim)
        self.fc3 = Linear(z_dim, quarter)
        self.bn3 = nn.BatchNorm1d(quarter)
        self.dropout3 = nn.Dropout(dropout)
        self.resblock3 = ResidualBlock(quarter, half, dropout)
        self.resblock4 = ResidualBlock(half, hidden_dim, dropout)
        self.fc4 = Linear(hidden_dim, input_dim)
        self.linear, self.nested, self.conditioned = linear, nested, conditioned
        self.film = FilmOfPrefix(z_dim, (quarter, half, hidden_dim)) if conditioned else None
        # Last, so that the layers above draw the same initial weights with the path and without it.
        with_path = linear == "pca"
        self.scaling = Scaling(input_dim, z_dim) if with_path else None
        self.path_in = nn.Linear(input_dim, z_dim, bias=False) if with_path else None
        self.path_out = nn.Linear(z_dim, input_dim, bias=False) if with_path else None

    @classmethod
    def configured(cls, config: TrainingConfig, input_dim: int) -> "ResVAE":
        """The network that `config` trains, with initial weights; input_dim is D."""
        return cls(
            input_dim,
            config.hidden_dim,
            config.z_dim,
            config.dropout,
            linear=config.linear,
            nested=config.nested > 0,
            conditioned=config.nested > 0 and config.prefixes > 0,
        )

    @classmethod
    def from_pretrained(cls, path: AnyPath, *, revision: str | None = None) -> "ResVAE":
        """The model of a MODEL folder or of the Hugging Face hub, on the CPU, in eval mode; no code of either runs.

        Args:
            path: a folder, or `user/model` on the hub, if no folder `user` is here.
            revision: branch, tag or commit on the hub; by default the newest.

        Raises:
            DataError: no MODEL there, or weights that do not fit its configuration.
            JobError: the hub cannot be reached.
        """
        if is_hub_name(path):
            path = fetch(str(path), (names.CONFIG_FILE, names.WEIGHTS_FILE), revision)
        folder = place(path)
        tensors, config = read_bundle(folder)
        shape = (config["input_dim"], config["hidden_dim"], config["z_dim"], config.get("dropout", 0.3))
        kind = {
            "linear": config.get("linear", "none"),
            "nested": config.get("nested", False),
            "conditioned": config.get("conditioned", False),
        }
        with torch.device("meta"):  # no memory for widths that the weights do not have
            require_fit(cls(*shape, **kind), tensors, folder)
        model = cls(*shape, **kind)
        load_weights(model, tensors, folder)
        return model.eval()

    def save_pretrained(
        self,
        path: AnyPath,
        about: dict[str, Any] | None = None,
        add_files: Callable[[Path], None] = nothing_else,
    ) -> Place:
        """Writes a MODEL folder.

        Args:
            about: metadata besides the shape (training, best loss, features, search), stored in config.json.
            add_files: writes additional files into the folder before it becomes visible.

        Raises:
            UsageError: `path` is there already and not empty.
        """
        shape = {
            "model_type": "resvae",
            "architectures": ["ResVAE"],
            "input_dim": self.input_dim,
            "hidden_dim": self.hidden_dim,
            "z_dim": self.z_dim,
            "dropout": self.dropout,
            "linear": self.linear,
            "nested": self.nested,
            "conditioned": self.conditioned,
        }
        folder = place_to_write(path)
        write_bundle(folder, self.state_dict(), shape | (about or {}), add_files)
        return folder

    def push_to_hub(self, name: str, about: dict[str, Any] | None = None, *, private: bool | None = None) -> str:
        """Uploads the model as a MODEL to the Hugging Face hub; returns the address of the commit.

        Args:
            name: `user/model`; created if it is not there.
            about: see `save_pretrained`. For a MODEL folder, with its card, there is `resvae_ray.push_to_hub`.
            private: whether a new repository is private; by default as its owner has set.

        Raises:
            UsageError: an invalid hub name, or a token without write access.
            JobError: the hub cannot be reached.
        """
        require_hub_name(name)
        with TemporaryDirectory(prefix="resvae_ray-") as folder:
            self.save_pretrained(folder, about)
            return push_to_hub(folder, name, private=private)

    @property
    def dropout(self) -> float:
        """The dropout probability."""
        return self.dropout1.p

    @property
    def prior_spread(self) -> torch.Tensor:
        """(Z): the prior's standard deviation of each latent of `encode`; 1 without a linear path."""
        return torch.ones_like(self.fc21.bias) if self.scaling is None else self.scaling.spread

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, D) to the posterior's mean and log variance, both (B, Z)."""
        mu, logvar = self.posterior(x)
        if self.scaling is None:
            return mu, logvar
        return mu * self.scaling.spread, logvar + 2 * self.scaling.spread.log()

    def posterior(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, D) to the posterior's mean and log variance, both (B, Z), for a prior with standard deviation 1."""
        if self.scaling is not None:
            x = self.scaling(x)
        h = self.dropout1(F.leaky_relu(self.bn1(self.fc1(x))))
        h = self.resblock2(self.resblock1(h))
        mu, logvar = self.fc21(h), self.fc22(h)
        if self.scaling is None or self.path_in is None:
            return mu, logvar
        return mu + self.path_in(x), logvar + self.scaling.logvar

    @staticmethod
    def reparameterize(mu: torch.Tensor, logvar: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        """A draw from the posterior (B, Z); `noise` (B, Z) is standard normal, drawn here if not given."""
        std = torch.exp(0.5 * logvar)
        return mu + (torch.randn_like(std) if noise is None else noise) * std

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """(B, Z) to the reconstruction (B, D); of nested latents the first k, (B, k), are enough.

        Raises:
            UsageError: z has another width than Z, and is not the beginning of nested latents.
        """
        k = None
        if z.shape[1] != self.z_dim:
            k = torch.full((len(z),), self._require_prefix(z.shape[1]), device=z.device)
            z = F.pad(z, (0, self.z_dim - z.shape[1]))
        return self._rebuilt(z if self.scaling is None else z / self.scaling.spread, k)

    def _rebuilt(self, z: torch.Tensor, k: torch.Tensor | None) -> torch.Tensor:
        """(B, Z), for a prior with standard deviation 1, to the reconstruction (B, D).

        Args:
            k: how many of each row's latents are kept (B); None for all.
        """
        films = [None, None, None] if self.film is None or k is None else self.film(k)
        h = self.dropout3(F.leaky_relu(modulated(self.bn3(self.fc3(z)), films[0])))
        x = self.fc4(self.resblock4(self.resblock3(h, films[1]), films[2]))
        return x if self.scaling is None or self.path_out is None else self.scaling.back(x + self.path_out(z))

    def _require_prefix(self, width: int) -> int:
        if not self.nested:
            raise UsageError(f"{width} latents, but the model has {self.z_dim} that are not nested; give all of them")
        if not 1 <= width <= self.z_dim:
            raise UsageError(f"{width} latents, but the model has {self.z_dim}; give 1 to {self.z_dim}")
        return width

    def forward(
        self, x: torch.Tensor, noise: torch.Tensor | None = None, kept: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, D) to the reconstruction (B, D) of a draw from the posterior, and what `posterior` gives (B, Z).

        Args:
            kept: (B, Z), 1 for the latents that the reconstruction may use and 0 for others; by default all. With
                (M B, Z) each row is decoded M times from one pass of the encoder, and all results have M B rows.
        """
        mu, logvar = self.posterior(x)
        if kept is None:
            return self._rebuilt(self.reparameterize(mu, logvar, noise), None), mu, logvar
        if (times := len(kept) // len(x)) > 1:
            mu, logvar = mu.repeat(times, 1), logvar.repeat(times, 1)
        z = self.reparameterize(mu, logvar, noise) * kept
        return self._rebuilt(z, kept.sum(1).long()), mu, logvar

    @torch.no_grad()
    def sample_latents(self, x: torch.Tensor, seed: int | None = None) -> torch.Tensor:
        """A draw from the posterior (B, Z) in eval mode, the same for the same seed; the mode is left as it was.

        The global random state is untouched when a seed is given.
        """
        training = self.training
        self.eval()
        try:
            with torch.random.fork_rng(devices=[x.device] if x.is_cuda else [], enabled=seed is not None):
                if seed is not None:
                    torch.manual_seed(seed)
                return self.reparameterize(*self.encode(x))
        finally:
            self.train(training)

    def summary(self) -> str:
        """The layers' widths as a small table for people."""
        rows: list[tuple[str, list[tuple[str, nn.Linear]]]] = [
            ("encoder", [("fc1", self.fc1), ("resblock1", self.resblock1.fc), ("resblock2", self.resblock2.fc)]),
            ("latents", [("fc21 (mu)", self.fc21), ("fc22 (logvar)", self.fc22)]),
            ("decoder", [("fc3", self.fc3), ("resblock3", self.resblock3.fc), ("resblock4", self.resblock4.fc)]),
            ("output", [("fc4", self.fc4)]),
        ]
        if self.path_in is not None and self.path_out is not None:
            rows.append(("linear", [("path_in", self.path_in), ("path_out", self.path_out)]))
        lines = [
            f"{part:<8} {name:<14} {layer.in_features:>5} -> {layer.out_features:>5}"
            for part, layers in rows
            for name, layer in layers
        ]
        return "\n".join([*lines, f"{self.parameter_count():,} parameters"])

    def parameter_count(self) -> int:
        """Trainable numbers."""
        return sum(parameter.numel() for parameter in self.parameters())
