"""RUN to MODEL: the weights of the best epoch of all trials, exactly as they were then."""

from collections import Counter
from pathlib import Path
from typing import Any

from resvae_ray import names
from resvae_ray._version import __version__
from resvae_ray.config import TrainingConfig
from resvae_ray.errors import DataError
from resvae_ray.files.place import Place, place_to_write
from resvae_ray.model.network import ResVAE
from resvae_ray.model.portable import require_onnx, write_onnx, write_torch_export
from resvae_ray.model.published import load_published_weights
from resvae_ray.model.tensor_file import load_weights, read_tensors
from resvae_ray.search.run.run import Run
from resvae_ray.search.run.trainings import ENDED, SavedWeights, record_of


def export(source: str | Path, target: str | Path, *, onnx: bool = False, torch_export: bool = False) -> Place:
    """Writes a MODEL from a RUN, or from a `.pt` file with the published class's weights.

    Args:
        onnx: also model.onnx, for onnxruntime: features to the posterior mean.
        torch_export: also model.pt2, for `torch.export.load`: the same.

    Raises:
        DataError: `source` has no RUN or weights, or no trial has saved weights yet.
        UsageError: `target` already exists, or the ONNX packages are not installed.
        JobError: model.onnx or model.pt2 does not give the model's latents.
    """
    folder = place_to_write(target)
    folder.refuse_existing()
    if onnx:
        require_onnx()
    model, about = _published(str(source)) if str(source).endswith(".pt") else best_model(Run.open(source))
    features = {key: about[key] for key in _ABOUT_FEATURES if key in about}
    wanted = {names.ONNX_FILE: write_onnx} if onnx else {}
    wanted |= {names.TORCH_EXPORT_FILE: write_torch_export} if torch_export else {}

    def add_files(staging: Path) -> None:
        for write in wanted.values():
            write(model, features, staging)

    return model.save_pretrained(folder, about | ({"portable": list(wanted)} if wanted else {}), add_files)


def export_best(run: Run, target: str | Path) -> Place:
    """Writes the best weights that a search has saved as a MODEL; see `export`."""
    model, about = best_model(run)
    return model.save_pretrained(target, about)


def _published(source: str) -> tuple[ResVAE, dict[str, Any]]:
    return load_published_weights(source), {"resvae_ray_version": __version__, "source": source.rpartition("/")[2]}


def best_model(run: Run) -> tuple[ResVAE, dict[str, Any]]:
    """The best weights that a search has saved, as a model in eval mode, with what config.json says of it.

    Raises:
        DataError: no trial has saved any yet, or they cannot be read.
    """
    saved = run.weights()
    if saved is None:
        raise DataError(f"{run.where}: no trial has saved weights yet")
    model, state = load_weights_of(saved)
    return model, _about(run, saved.number, state) | _finalists(run)


def load_weights_of(saved: SavedWeights) -> tuple[ResVAE, dict[str, Any]]:
    """The weights that a trial has saved as a model in eval mode, with the state that was saved beside them.

    Raises:
        DataError: they cannot be read.
    """
    tensors, state = read_tensors(saved.path)
    config = TrainingConfig(**state["config"])
    model = ResVAE.configured(config, state["input_dim"])
    load_weights(model, tensors, saved.path)
    return model.eval(), state


def _about(run: Run, number: int, state: dict[str, Any]) -> dict[str, Any]:
    return {
        "resvae_ray_version": __version__,
        "best_val_loss": state["metrics"][names.VAL_LOSS],
        "best_epoch": state["metrics"][names.EPOCH],
        "training": state["config"],
        "metric": state["metric"],
        "validation": {name: value for name, value in state["metrics"].items() if name not in _RATES},
        "search": _about_search(run, number),
        "features": _about_features(run.info["dataset"]),
    }


def _about_search(run: Run, number: int) -> dict[str, Any]:
    records = run.records()
    states = Counter(record.state for record in records)
    return {
        "study": run.info["study"],
        "trial": number,
        "trials": run.snapshot().wanted(run.config.search),
        "name": run.config.name,
        "seed": run.config.search.seed,
        **{state: states[state] for state in ENDED},
        "epochs": sum(record.last_epoch for record in records),
        "params": record_of(records, number, run.where).params,
        "versions": run.info["sessions"][-1]["versions"] if run.info["sessions"] else {},
    }


def _about_features(dataset: dict[str, Any]) -> dict[str, Any]:
    return {
        **dataset["provenance"],
        "dim": dataset["dim"],
        "train_rows": dataset["train_rows"],
        "val_rows": dataset["val_rows"],
        "split": dataset["split"],
        "excluded": dataset["excluded"],
        "fingerprint": dataset["fingerprint"],
    }


def _finalists(run: Run) -> dict[str, Any]:
    """How the configuration was chosen, where it was chosen among finalists."""
    if (choice := run.chosen()) is None:
        return {}
    chosen, among = choice
    about = {name: value for name, value in chosen.row().items() if name not in chosen.params}
    seed = (chosen.best.repeat or 0) + 1 if chosen.best else None
    return {"finalists": {"chosen_among": among, "seeds": len(chosen.repeats), "weights_of_seed": seed, **about}}


_RATES = (names.ROWS_PER_SECOND, names.SECONDS)
_ABOUT_FEATURES = ("resvae_ray_version", "source", "features")
