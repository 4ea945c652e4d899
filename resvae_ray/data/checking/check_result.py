"""The figures that `check` finds in FEATURES."""

from dataclasses import asdict, dataclass, field
from typing import Any

from resvae_ray.data.checking.survey import Location

GOOD_R2 = 0.9  # explained variance that a suggested beta allows
MOST_CLASSES = 10_000  # more different labels are not counted


@dataclass(frozen=True)
class Labels:
    """Number of proteins per label; `counts` is None where there are over MOST_CLASSES labels."""

    column: str
    missing: int
    counts: dict[str, int] | None


@dataclass(frozen=True)
class Spread:
    """Figures of the features' variances; D features.

    Attributes:
        constant_features: positions of features with one value only.
        outlier_dimensions: positions of features whose mean or standard deviation is far from the others', see
            check.py.
        outlier_share: of the total variance, in the outliers.
        std_min, std_median, std_max: of the features' standard deviations.
        total_variance: summed over the features, a protein: the squared error of a model that predicts the mean.
        mean_loss: the validation loss, on the paper's scale, of a model that predicts the mean.
    """

    constant_features: list[int]
    outlier_dimensions: list[int]
    outlier_share: float
    std_min: float
    std_median: float
    std_max: float
    total_variance: float
    mean_loss: float


@dataclass(frozen=True)
class Components:
    """Figures of the principal components.

    Attributes:
        components_60, components_90: principal components that hold 60 % and 90 % of it.
        usable_latents: components that are worth a latent at `beta`, see spectrum.py.
        linear_r2: explained variance of the best linear VAE at `beta`.
        sufficient_beta: with which the best linear VAE explains GOOD_R2 of the variance.
    """

    components_60: int
    components_90: int
    usable_latents: int
    linear_r2: float
    sufficient_beta: float


@dataclass(frozen=True)
class Check:
    """Results of `check`; `spread` is None if fewer than two rows are complete.

    Attributes:
        missing: rows without an id, a vector or one of its values.
        nonfinite: rows with NaN, infinity or a missing value in their vector; the last count as missing too.
        duplicate_proteins: rows whose id has the UniProt accession of an earlier row's, as a rule in another form.
        duplicate_ids, duplicate_vectors, duplicate_sequences: rows that repeat an earlier one; sequences None if there
            are none.
        components: None where all rows are equal, or too many and too wide, see moments.py.
        first: where `missing`, `nonfinite` and `duplicate_ids` begin.
        warnings: what is usable but will disappoint, see advice.py.
    """

    path: str
    rows: int
    dim: int
    beta: float
    missing: int
    nonfinite: int
    duplicate_ids: int
    duplicate_vectors: int
    duplicate_proteins: int
    duplicate_sequences: int | None
    labels: Labels | None
    spread: Spread | None
    components: Components | None
    first: dict[str, Location] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def problems(self) -> list[str]:
        """Reasons why the features are unusable; empty if they are usable."""
        found = {
            "missing": f"{self.missing:,} rows lack their id, their vector or a value of it",
            "nonfinite": f"{self.nonfinite:,} rows hold a value that is NaN, infinite or missing",
            "duplicate_ids": f"{self.duplicate_ids:,} rows repeat the id of an earlier one",
        }
        return [f"{found[what]}, the first is {place}" for what, place in self.first.items()]

    def record(self) -> dict[str, Any]:
        """All figures, problems and warnings for JSON; what could not be computed is None."""
        flat = {key: value for key, value in asdict(self).items() if key not in ("spread", "components", "first")}
        spread = asdict(self.spread) if self.spread else dict.fromkeys(Spread.__annotations__)
        components = asdict(self.components) if self.components else dict.fromkeys(Components.__annotations__)
        places = {what: self.first.get(what) for what in ("missing", "nonfinite", "duplicate_ids")}
        first = {f"first_{what}": asdict(place) if place else None for what, place in places.items()}
        return flat | spread | components | first | {"problems": self.problems}
