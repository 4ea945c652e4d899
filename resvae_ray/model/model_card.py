"""README.md of a MODEL: what Hugging Face calls a model card, with its metadata as YAML in front.

All of it is made from config.json and, if there is one, an evaluation. Names that came with the features are strangers'
text: they are put on one line and lose every sign that Markdown, HTML or YAML would act on.
"""

import hashlib
import html
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from resvae_ray.names import ONNX_FILE, R2, TORCH_EXPORT_FILE, VAL_LOSS

LONGEST = 200  # signs of a strangers' text that are shown
SEAL = "<!-- made by resvae_ray, {digest} -->"

PURPOSE = """\
A residual variational autoencoder. It compresses the {input_dim} features that a protein language model gives for a
protein to {z_dim} latents, for prediction, search and maps. The latents are the mean of the posterior, the same at
every call."""

LOAD = """\
```python
from resvae_ray import ResVAE

model = ResVAE.from_pretrained(PATH)  # a torch module in eval mode; loading runs no code
mu, logvar = model.encode(features)  # float32 (B, {input_dim}) to the posterior's mean and log variance (B, {z_dim})
```

Or for files: `resvae-ray encode MODEL FEATURES LATENTS`."""

PORTABLE = """\
Without this package, from `features`, float32 (batch, {input_dim}), to `z`, the posterior mean, float32
(batch, {z_dim}), for any batch; compared with PyTorch when it was written: {files}."""

FINALISTS = """\
The best configurations of the search were trained again in full under fresh seeds. One that fails under a seed comes
after all that do not; then the lowest mean decides. The mean is the fair figure for the configuration; the weights here
are the best of its trainings. The gap, overtuning, is how far the mean lies above the loss that the search saw."""

UNKNOWN = "Nothing is recorded of the language model and pooling that made the features (`import --describe` does it)."

LIMITS = """\
- The features must come from the language model, layer and pooling that it was trained on, and are not normalised:
  others give latents without meaning, and no error.
- Proteins unlike the training proteins are compressed worse; `encode --recon-error` reports the error of each.
- The validation rows chose the best of the search's trials, so its metrics are slightly optimistic. Unless the rows
  were split by similarity, relatives of training proteins are among them.
- Explained variance weighs features by their spread and says nothing of a task; try the latents, PCA and the features.
- No licence is given here. The terms of the language model and of the proteins' source apply."""


@dataclass(frozen=True)
class CardEvaluation:
    """The part of a card that comes from an evaluation.

    Attributes:
        markdown: tables and sentences.
        metrics: entries of the metadata, each with type, name and value.
    """

    markdown: str
    metrics: list[dict[str, Any]]


def model_card(config: Mapping[str, Any], evaluation: CardEvaluation | None = None) -> str:
    """The card of a MODEL with this config.json."""
    sections = [
        f"# Res-VAE: {config['input_dim']} features to {config['z_dim']} latents",
        PURPOSE.format(**config),
        *(_section("Data", config.get("features")) or ["## Data"]),
        *([] if _dict(config.get("features")).get("model") else [UNKNOWN]),
        *_section("Search", config.get("search")),
        *_section("Chosen among finalists", finalists := _dict(config.get("finalists"))),
        *([FINALISTS] if finalists else []),
        *_section("Training", {"best_epoch": config.get("best_epoch"), **_dict(config.get("training"))}),
        *_section("Measured by", config.get("metric")),
        *_section(f"Validation, recorded by the {_recorder(finalists)}", config.get("validation")),
        *(["## Evaluation", evaluation.markdown] if evaluation else []),
        "## Use",
        LOAD.format(**config),
        *([PORTABLE.format(**{**config, "files": files})] if (files := _files(config)) else []),
        "## Limits",
        LIMITS,
        f"Written by resvae_ray {_cell(config.get('resvae_ray_version', ''))}".strip()
        + (f" from {_cell(config['source'])}" if "source" in config else "")
        + ".",
    ]
    text = f"---\n{_metadata(config, evaluation)}---\n" + "\n\n".join(sections) + "\n"
    return f"{text}\n{SEAL.format(digest=_digest(text))}\n"


def _recorder(finalists: Mapping[str, Any]) -> str:
    seed = finalists.get("weights_of_seed")
    return f"retraining under seed {_plain(seed)}" if seed is not None else "search"


def is_as_made(card: str) -> bool:
    """Whether a card is unchanged since any version of this package wrote it."""
    text, _, seal = card.rstrip("\n").rpartition("\n")
    return seal == SEAL.format(digest=_digest(text))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()


def _metadata(config: Mapping[str, Any], evaluation: CardEvaluation | None) -> str:
    header: dict[str, Any] = {
        "library_name": "resvae_ray",
        "pipeline_tag": "feature-extraction",
        "tags": ["protein", "embedding", "dimensionality-reduction", "variational-autoencoder"],
    }
    if metrics := [*_validation_metrics(config), *(evaluation.metrics if evaluation else [])]:
        header["model-index"] = [
            {
                "name": _plain(_dict(config.get("search")).get("name") or "Res-VAE"),
                "results": [
                    {"task": {"type": "feature-extraction"}, "dataset": _dataset(config), "metrics": metrics},
                ],
            }
        ]
    # Not huggingface_hub.ModelCardData: it folds long texts, so that a name with `---` could end a line, and each MODEL
    # would need the package. The tests read the card with it.
    return yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=math.inf)


def _dataset(config: Mapping[str, Any]) -> dict[str, str]:
    features = _dict(config.get("features"))
    made_by = [_plain(features[key]) for key in ("model", "layer", "pooling") if features.get(key) not in (None, "")]
    found = {"type": "protein-features", "name": ", ".join(made_by) or "protein features", "split": "validation"}
    return found | ({"revision": _plain(features["fingerprint"])} if "fingerprint" in features else {})


def _validation_metrics(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The validation metrics of the search; R² is named differently in an evaluation (posterior mean)."""
    found = _dict(config.get("validation"))
    wanted = [
        (VAL_LOSS, "val_loss", "validation loss, scale of the method's paper"),
        (R2, "r2_sampled", "explained variance at sampled latents"),
    ]
    return [
        {"type": kind, "name": name, "value": found[key]}
        for key, kind, name in wanted
        if isinstance(found.get(key), int | float) and math.isfinite(found[key])
    ]


def _section(title: str, table: Any) -> list[str]:
    rows = [f"| {_cell(name)} | {_cell(value)} |" for name, value in _dict(table).items() if value is not None]
    return [f"## {title}", "\n".join(["| | |", "|---|---|", *rows])] if rows else []


def _files(config: Mapping[str, Any]) -> str:
    """The files for other runtimes that `export` says it wrote."""
    written = config.get("portable") or ()
    return " and ".join(f"`{name}`" for name in (ONNX_FILE, TORCH_EXPORT_FILE) if name in written)


def _dict(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _cell(value: Any) -> str:
    return re.sub(r"([\\`*\[\]|~$])", r"\\\1", html.escape(_plain(value), quote=False))


def _plain(value: Any) -> str:
    """A value on one line, without signs that cannot be printed."""
    if isinstance(value, Mapping):
        text = ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    elif isinstance(value, list | tuple):
        text = ", ".join(map(_plain, value))
    else:
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
