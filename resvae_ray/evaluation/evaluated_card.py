"""An evaluation in a MODEL's card."""

from typing import Any

from resvae_ray.errors import UsageError
from resvae_ray.evaluation.representations import LATENTS
from resvae_ray.evaluation.results import Evaluation, evaluation_markdown
from resvae_ray.files.place import AnyPath, Place, place
from resvae_ray.model.model_card import CardEvaluation, is_as_made, model_card
from resvae_ray.model.pretrained import read_model_config
from resvae_ray.names import CARD_FILE


def write_card(model: AnyPath, evaluation: Evaluation) -> Place:
    """Replaces README.md of a MODEL by one with the evaluation in it.

    Raises:
        DataError: no MODEL there.
        UsageError: somebody has changed README.md.
    """
    folder = place(model)
    require_own_card(folder)
    path = folder / CARD_FILE
    found = CardEvaluation(evaluation_markdown(evaluation), _metrics(evaluation))
    with path.staged_file() as staging:
        staging.write_text(model_card(read_model_config(folder), found))
    return path


def require_own_card(model: AnyPath) -> None:
    """
    Raises:
        DataError: no MODEL there.
        UsageError: its README.md is not as this package made it.
    """
    folder = place(model)
    read_model_config(folder)
    path = folder / CARD_FILE
    if path.exists() and not is_as_made(path.read_text(errors="replace")):
        raise UsageError(f"{path}: not as export wrote it; move it away, and --write-card writes a new one")


def _metrics(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Metrics of the model alone: readers of the metadata attribute every figure to the model."""
    metrics = []
    if (r2 := evaluation.reconstruction.model.r2) is not None:
        metrics.append({"type": "r2", "name": "explained variance, posterior mean", "value": r2})
    if evaluation.labels is not None:
        scores = evaluation.labels.scores[LATENTS].linear
        found = {"matthews_correlation": scores.mcc, "balanced_accuracy": scores.balanced_accuracy}
        metrics += [{"type": kind, "name": "linear probe of z", "value": value} for kind, value in found.items()]
    return metrics
