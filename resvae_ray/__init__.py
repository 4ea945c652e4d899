"""Finds the residual VAE that compresses protein features best, on Ray, and applies it.

    import resvae_ray as rr

    rr.run_all("proteins.csv", "out")                 # all of the following, and more

    rr.import_features("proteins.csv", "features.parquet")
    rr.split_features("features.parquet", "dataset")
    run = rr.tune("dataset", "run", "esm2_650m_cls")
    rr.encode_features(run.path / "model", "features.parquet", "latents.parquet")

Importing the package loads neither torch nor Ray; what is used is loaded when it is used.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from resvae_ray._version import __version__

if TYPE_CHECKING:
    from resvae_ray.config import Config as Config
    from resvae_ray.config_file import load_config as load_config
    from resvae_ray.data.checking.check import check_features as check_features
    from resvae_ray.data.dataset import Dataset as Dataset
    from resvae_ray.data.features import Features as Features
    from resvae_ray.data.importers import import_features as import_features
    from resvae_ray.data.importers.joined_table import TablesBeside as TablesBeside
    from resvae_ray.data.layout import ColumnChoice as ColumnChoice
    from resvae_ray.data.proteins.batch import ProteinChoice as ProteinChoice
    from resvae_ray.data.splitting.split import split_features as split_features
    from resvae_ray.data.stream import open_sides as open_sides
    from resvae_ray.embed.embed_proteins import embed_proteins as embed_proteins
    from resvae_ray.embed.settings import Embedding as Embedding
    from resvae_ray.embed.workers import Workers as Workers
    from resvae_ray.encode.encode_features import encode_features as encode_features
    from resvae_ray.encode.latents import Output as Output
    from resvae_ray.errors import ResVAERayError as ResVAERayError
    from resvae_ray.estimator import ResVAETransformer as ResVAETransformer
    from resvae_ray.evaluation.evaluate import evaluate_model as evaluate_model
    from resvae_ray.evaluation.results import Evaluation as Evaluation
    from resvae_ray.flow.flow_settings import FlowSettings as FlowSettings
    from resvae_ray.flow.run_all import run_all as run_all
    from resvae_ray.model.loss import LossTerms as LossTerms
    from resvae_ray.model.loss import loss_terms as loss_terms
    from resvae_ray.model.network import ResVAE as ResVAE
    from resvae_ray.model.pretrained import push_to_hub as push_to_hub
    from resvae_ray.model.training import Training as Training
    from resvae_ray.reporting.figures import figures as figures
    from resvae_ray.reporting.report import report as report
    from resvae_ray.search.export import export as export
    from resvae_ray.search.run.run import Run as Run
    from resvae_ray.search.tune import tune as tune

# Not lazy_loader: its AttributeError names no module, its dir() lacks __version__, and with EAGER_IMPORT in the
# environment it loads torch and Ray here.
_PLACES = {
    "Config": "config",
    "load_config": "config_file",
    "check_features": "data.checking.check",
    "Dataset": "data.dataset",
    "Features": "data.features",
    "import_features": "data.importers",
    "TablesBeside": "data.importers.joined_table",
    "ColumnChoice": "data.layout",
    "split_features": "data.splitting.split",
    "open_sides": "data.stream",
    "ProteinChoice": "data.proteins.batch",
    "Workers": "embed.workers",
    "embed_proteins": "embed.embed_proteins",
    "Embedding": "embed.settings",
    "Output": "encode.latents",
    "encode_features": "encode.encode_features",
    "ResVAERayError": "errors",
    "evaluate_model": "evaluation.evaluate",
    "Evaluation": "evaluation.results",
    "ResVAETransformer": "estimator",
    "FlowSettings": "flow.flow_settings",
    "run_all": "flow.run_all",
    "figures": "reporting.figures",
    "report": "reporting.report",
    "LossTerms": "model.loss",
    "loss_terms": "model.loss",
    "ResVAE": "model.network",
    "Training": "model.training",
    "push_to_hub": "model.pretrained",
    "export": "search.export",
    "Run": "search.run.run",
    "tune": "search.tune",
}

__all__ = ["__version__", *_PLACES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    value = globals()[name] = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
