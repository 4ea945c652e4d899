"""RUN to MODEL: the weights of the best epoch of all trials, exactly as they were then."""

from pathlib import Path
from typing import Any

from resvae_ray import names
from resvae_ray._version import __version__
from resvae_ray.config import TrainingConfig
from resvae_ray.errors import DataError
from resvae_ray.model.checkpoint import load_weights, read_tensors
from resvae_ray.model.network import ResVAE
from resvae_ray.model.published import load_published_weights
from resvae_ray.search.records import read_saved
from resvae_ray.search.run import Run


def export(source: str | Path, target: str | Path) -> Path:
    """Writes a MODEL from a RUN, or from a `.pt` file with the published class's weights.

    Raises:
        DataError: no RUN or weights there, or no trial has saved any yet.
        UsageError: `target` is there already.
    """
    if str(source).endswith(".pt"):
        about = {"resvae_ray_version": __version__, "source": Path(source).name}
        return load_published_weights(source).save_pretrained(target, about)
    return export_best(Run.open(source), target)


def export_best(run: Run, target: str | Path) -> Path:
    """Writes the best weights that a search has saved as a MODEL; see `export`."""
    model, number, state = best_model(run)
    return model.save_pretrained(target, _about(run, number, state))


def best_model(run: Run) -> tuple[ResVAE, int, dict[str, Any]]:
    """The best weights that a search has saved, as a model in eval mode, with the trial's number and its state then.

    Raises:
        DataError: no trial has saved any yet, or they cannot be read.
    """
    saved = read_saved(run.path)
    if not saved:
        raise DataError(f"{run.path}: no trial has saved weights yet")
    tensors, state = read_tensors(saved[0].path)
    config = TrainingConfig(**state["config"])
    model = ResVAE(state["input_dim"], config.hidden_dim, config.z_dim, config.dropout)
    load_weights(model, tensors, saved[0].path)
    return model.eval(), saved[0].number, state


def _about(run: Run, number: int, state: dict[str, Any]) -> dict[str, Any]:
    dataset = run.info["dataset"]
    return {
        "resvae_ray_version": __version__,
        "best_val_loss": state["metrics"][names.VAL_LOSS],
        "best_epoch": state["metrics"][names.EPOCH],
        "training": state["config"],
        "metric": state["metric"],
        "validation": {name: value for name, value in state["metrics"].items() if name not in _RATES},
        "search": {
            "study": run.info["study"],
            "trial": number,
            "trials": run.config.search.trials,
            "name": run.config.name,
        },
        "features": {
            **dataset["provenance"],
            "dim": dataset["dim"],
            "train_rows": dataset["train_rows"],
            "val_rows": dataset["val_rows"],
            "fingerprint": dataset["fingerprint"],
        },
    }


_RATES = (names.ROWS_PER_SECOND, names.SECONDS)
