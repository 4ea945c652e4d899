"""The steps of a flow: the command of each single verb, what it makes, and the function behind it."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resvae_ray import names
from resvae_ray.embed.embed_proteins import embed_proteins
from resvae_ray.embed.settings import Embedding
from resvae_ray.embed.workers import Workers
from resvae_ray.encode.encode_features import encode_features
from resvae_ray.errors import DataError, Interrupted
from resvae_ray.evaluation.evaluate import evaluate_model
from resvae_ray.files.place import LocalPlace
from resvae_ray.flow.flow_settings import FlowSettings
from resvae_ray.jobs.check_job import check_shards
from resvae_ray.jobs.import_job import import_shards
from resvae_ray.jobs.split_job import split_shards
from resvae_ray.progress import Progress
from resvae_ray.reporting.report import report
from resvae_ray.search.export import export
from resvae_ray.search.run.run import Run
from resvae_ray.search.tune import tune


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: of the verb.
        command: that does the same alone, for a shell.
        result: what the step makes; it appears when it is whole.
        work: makes it, and returns what the function of the verb returns.
        done: whether it is there.
        on_ray: whether it needs Ray.
    """

    name: str
    command: str
    result: LocalPlace
    work: Callable[[Progress], Any]
    done: Callable[[], bool]
    on_ray: bool = False


def steps_of(source: str, folder: LocalPlace, settings: FlowSettings) -> list[Step]:
    """The steps from the source to the report, in their order."""
    return _Steps(source, folder, settings).all()


@dataclass(frozen=True)
class _Steps:
    source: str
    folder: LocalPlace
    settings: FlowSettings

    def all(self) -> list[Step]:
        first = self._import() if self.settings.embedding is None else self._embed(self.settings.embedding)
        later = (self._check, self._split, self._tune, self._export, self._evaluate, self._encode, self._report)
        return [first, *(step() for step in later)]

    @property
    def _address(self) -> str:
        return self.settings.config.resources.address

    def _on_cluster(self) -> list[str]:
        return ["--address", self._address] if self._address else []

    def _at(self, name: str) -> LocalPlace:
        return self.folder / name

    def _step(self, name: str, arguments: list[Any], result: str, work: Callable[[Progress], Any], **more: Any) -> Step:
        command = shlex.join(["resvae-ray", name, *map(_short, arguments)])
        if result.endswith(".json"):
            command += f" > {shlex.quote(_short(self._at(result)))}"
        return Step(name, command, self._at(result), work, more.pop("done", self._at(result).exists), **more)

    def _import(self) -> Step:
        columns, target = self.settings.columns, self._at(names.FEATURES_FILE)

        def work(progress: Progress) -> Any:
            return import_shards(self.source, target, columns, address=self._address, progress=progress)

        arguments = [self.source, target, *_options(vars(columns)), *self._on_cluster()]
        return self._step("import", arguments, names.FEATURES_FILE, work)

    def _embed(self, embedding: Embedding) -> Step:
        target, columns = self._at(names.FEATURES_FILE), self.settings.proteins
        given = {name: value for name, value in vars(embedding).items() if value != getattr(Embedding(), name)}

        def work(progress: Progress) -> Any:
            workers = Workers(address=self._address)
            return embed_proteins(self.source, target, embedding, columns=columns, workers=workers, progress=progress)

        layers = [text for layer in given.pop("layers", ()) for text in ("--layer", str(layer))]
        chosen = [*_options(given), *layers, *_options(vars(columns)), *self._on_cluster()]
        arguments = [self.source, target, *chosen]
        return self._step("embed", arguments, names.FEATURES_FILE, work, on_ray=True)

    def _check(self) -> Step:
        features, target = self._at(names.FEATURES_FILE), self._at(names.CHECK_FILE)

        def work(progress: Progress) -> Any:
            check = check_shards(str(features), address=self._address, progress=progress)
            if check.problems:
                raise DataError(f"{check.path}: {'; '.join(check.problems)}")
            target.write_json(check.record())
            return check

        return self._step("check", [features, "--json", *self._on_cluster()], names.CHECK_FILE, work)

    def _split(self) -> Step:
        features, target, exclude = self._at(names.FEATURES_FILE), self._at(names.DATASET_FOLDER), self.settings.exclude

        def work(progress: Progress) -> Any:
            leaks: Any = {"exclude": exclude, "drop": exclude is not None}
            return split_shards(str(features), str(target), **leaks, address=self._address, progress=progress)

        leaks = ["--exclude", exclude, "--drop"] if exclude is not None else []
        arguments = [features, target, *leaks, *self._on_cluster()]
        done = (target / names.DATASET_FILE).exists
        return self._step("split", arguments, names.DATASET_FOLDER, work, done=done)

    def _tune(self) -> Step:
        dataset, target = self._at(names.DATASET_FOLDER), self._at(names.RUN_FOLDER)
        begun = (target / names.RUN_FILE).exists()

        def work(_: Progress) -> Run:
            resume = (target / names.RUN_FILE).exists()
            run = tune(str(dataset), str(target), self.settings.config, resume=resume)
            if run.trainings_left():
                raise Interrupted("stopped by --max-hours")
            return run

        def done() -> bool:
            if not (target / names.MODEL_FOLDER / names.CONFIG_FILE).exists():
                return False
            return not Run.open(target).trainings_left()

        how = ["--resume"] if begun else ["--config", self._at(names.SEARCH_FILE)]
        return self._step("tune", [dataset, target, *how], names.RUN_FOLDER, work, done=done, on_ray=True)

    def _export(self) -> Step:
        run, target = self._at(names.RUN_FOLDER), self._at(names.MODEL_FOLDER)

        def work(_: Progress) -> Any:
            return export(str(run), str(target))

        done = (target / names.CONFIG_FILE).exists
        return self._step("export", [run, target], names.MODEL_FOLDER, work, done=done)

    def _evaluate(self) -> Step:
        model, dataset = self._at(names.MODEL_FOLDER), self._at(names.DATASET_FOLDER)
        target = self._at(names.EVALUATION_FILE)

        def work(progress: Progress) -> Any:
            evaluation = evaluate_model(str(model), str(dataset), progress=progress)
            target.write_json(evaluation.to_dict())
            return evaluation

        return self._step("evaluate", [model, dataset, "--json"], names.EVALUATION_FILE, work)

    def _encode(self) -> Step:
        model, features = self._at(names.MODEL_FOLDER), self._at(names.FEATURES_FILE)
        target = self._at(names.LATENTS_FILE)

        def work(progress: Progress) -> int:
            return encode_features(str(model), str(features), str(target), address=self._address, progress=progress)

        arguments = [model, features, target, *self._on_cluster()]
        return self._step("encode", arguments, names.LATENTS_FILE, work, on_ray=True)

    def _report(self) -> Step:
        run, target = self._at(names.RUN_FOLDER), self._at(names.REPORT_FOLDER)

        def work(progress: Progress) -> Any:
            return report(str(run), str(target), progress=progress)

        done = (target / names.REPORT_FILE).exists
        return self._step("report", [run, "--out", target], names.REPORT_FOLDER, work, done=done)


def _short(argument: Any) -> str:
    """An argument as it is; a path below the working folder relative to it."""
    here = Path.cwd()
    if isinstance(argument, Path) and argument.is_relative_to(here):
        return str(argument.relative_to(here))
    return str(argument)


def _options(values: dict[str, Any]) -> list[str]:
    """The options of a command for the values that are given."""
    given = {name: value for name, value in values.items() if value is not None}
    return [text for name, value in given.items() for text in (f"--{name.replace('_', '-')}", str(value))]
