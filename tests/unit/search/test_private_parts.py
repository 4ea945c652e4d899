"""The private parts of Ray Tune and Optuna that a search uses are there, and do what they did (Ray 2.60, Optuna 5.0).

A failure here, after an update, names the part that has changed and the file to adapt. Two files have tests of their
own: on_ray/ray_internals.py (test_ray_internals.py) and search/run/journal.py (run/test_journal.py).
"""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportPrivateImportUsage=false

import ast
import inspect
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
import ray
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray.exceptions import ActorDiedError
from ray.tune import tune as tune_module
from ray.tune.execution import class_cache
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

import resvae_ray
from resvae_ray.search.ray_tune.experiment import (
    SECRETS,
    Controller,
    leave_environment_alone,
    our_controller,
    stoppable,
)
from resvae_ray.search.ray_tune.failures import FAILURE

PACKAGE = Path(resvae_ray.__file__).parent
# Private parts of other packages are used in these files alone: one that is added needs a test here.
USED_IN = {
    "search/asha.py": {"_brackets", "_rungs", "_trial_info"},
    "search/tpe.py": {"_is_fixed_param", "_is_relative_param", "_metric", "_mode", "_suggest", "_trial_id"},
    "search/study.py": {"_storage"},
    "search/ray_tune/experiment.py": {"_resetting_trials", "_set_trial_status"},
    "on_ray/ray_internals.py": {"_global_node"},
    "model/average.py": {"_foreach_copy_", "_foreach_lerp_"},  # PyTorch's; its own tests fail without them
    "search/callbacks/tensorboard_server.py": {"_exit"},  # of Python, documented
}
ALSO_IMPORTED_IN = "on_ray/ray_internals.py"


@contextmanager
def needed(what: str, file: str, package=ray) -> Iterator[None]:
    """Says, in place of any error within, which part of which package has changed and which file uses it."""
    try:
        yield
    except Exception as error:
        version = f"{package.__name__.capitalize()} {package.__version__}"
        found = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        pytest.fail(f"{version} changed {what}: adapt resvae_ray/{file}, then pyproject.toml ({found})", pytrace=False)


def parameters(function) -> list[str]:
    return list(inspect.signature(function).parameters)


# search/ray_tune/experiment.py


def test_tune_makes_the_controller_that_its_module_names():
    """Else the death of a reused worker fails an innocent trial."""
    with needed("where it finds TuneController", "search/ray_tune/experiment.py"):
        assert tune_module.TuneController is TuneController
        assert "TuneController(**" in inspect.getsource(tune_module.run)
        with our_controller():
            assert tune_module.TuneController is Controller
        assert tune_module.TuneController is TuneController


@pytest.fixture
def controller(monkeypatch):
    """Ours, without a search; returns it and the failures that it passes on to Tune."""
    passed_on = []
    monkeypatch.setattr(TuneController, "_trial_task_failure", lambda self, *failure: passed_on.append(failure))
    made = Controller.__new__(Controller)
    made._resetting_trials, made.statuses = set(), []
    made._set_trial_status = lambda trial, status: made.statuses.append(status)
    return made, passed_on


def test_tune_reports_a_dead_worker_to_the_hook_that_we_replace():
    with needed("how it reports a dead worker", "search/ray_tune/experiment.py"):
        assert parameters(TuneController._trial_task_failure) == ["self", "trial", "exception"]
        assert parameters(TuneController._set_trial_status) == ["self", "trial", "status"]
        assert "on_error=self._trial_task_failure" in inspect.getsource(TuneController._schedule_trial_reset)
        assert "self._trial_task_failure(" in inspect.getsource(TuneController._actor_failed)
    with needed("how it waits for a worker's reset", "search/ray_tune/experiment.py"):
        assert "self._resetting_trials: Set[Trial] = set()" in inspect.getsource(TuneController.__init__)
        assert "self._resetting_trials.add(trial)" in inspect.getsource(TuneController._schedule_trial_reset)
        assert "trial in self._resetting_trials" in inspect.getsource(TuneController._maybe_reuse_cached_actor)


def test_a_worker_that_died_at_its_reset_costs_no_trial(controller):
    ours, passed_on = controller
    trial, died = Trial("trainable", stub=True), ActorDiedError()
    ours._resetting_trials.add(trial)
    ours._trial_task_failure(trial, died)
    assert (ours.statuses, ours._resetting_trials) == ([Trial.PENDING], set())
    ours._trial_task_failure(trial, died)  # the second time
    assert passed_on == []
    trial.set_status(Trial.RUNNING)
    ours._trial_task_failure(trial, died)
    trial.set_status(Trial.PENDING)
    ours._trial_task_failure(trial, error := RuntimeError("another"))
    assert passed_on == [(trial, died), (trial, error)]


def test_tune_stops_in_good_order_on_sigusr1():
    """Else Ctrl-C loses what the trials have reached since their last checkpoint."""
    with needed("the signal that stops it", "search/ray_tune/experiment.py"):
        assert "signal.signal(signal.SIGUSR1, signal_interrupt_tune_run)" in inspect.getsource(tune_module)
    heard, before = [], signal.getsignal(signal.SIGUSR1)
    # Tests in the background inherit that SIGINT is ignored, and what is ignored stays so.
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stoppable() as asked:
            signal.signal(signal.SIGUSR1, lambda *_: heard.append(asked.is_set()))
            signal.raise_signal(signal.SIGINT)
            for _ in range(1000):  # the kernel may give the second signal to another thread
                if heard:
                    break
                time.sleep(0.01)
    finally:
        signal.signal(signal.SIGINT, interrupt)
    assert heard == [True]
    assert signal.getsignal(signal.SIGUSR1) == before


def test_tune_hands_on_the_environment_variables_of_a_set():
    """Else it writes the keys of AWS into a log."""
    with needed("which environment variables it gives to trials", "search/ray_tune/experiment.py"):
        assert isinstance(class_cache.ENV_VARS_TO_PROPAGATE, set)
        assert "in ENV_VARS_TO_PROPAGATE" in inspect.getsource(class_cache._ActorClassCache.get)
        known = {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}
        assert known <= set(SECRETS)


def test_tune_starts_trials_without_environment_variables(monkeypatch):
    """Else each trial waits for a process of its own, and that for an agent."""
    with needed("which environment variables it sets itself", "search/ray_tune/experiment.py"):
        for name in class_cache.ENV_VARS_TO_PROPAGATE:
            monkeypatch.delenv(name, raising=False)
        leave_environment_alone()
        actor = class_cache._ActorClassCache().get(type("Trainable", (), {}))
        assert not actor._default_options["runtime_env"].get("env_vars")


# search/ray_tune/failures.py


def test_tune_keeps_the_failures_of_a_trial(tmp_path, monkeypatch):
    """Else a lost node counts as a crash, or the reason of a crash is not recorded."""
    with needed("how it keeps the failures of a trial", "search/ray_tune/failures.py"):
        monkeypatch.setattr(Trial, "local_path", str(tmp_path))
        trial = Trial("trainable", stub=True)
        trial.handle_error(error := ActorDiedError())
        assert trial.run_metadata.num_failures == 1
        assert Path(trial.error_file).read_text().startswith(FAILURE)
        assert str(error) in Path(trial.error_file).read_text()
        assert Path(trial.pickled_error_file).is_file()
        recover = inspect.getsource(TuneController._process_trial_failure)
        assert recover.index("trial.should_recover()") < recover.index("self._callbacks.on_trial_recover(")


# search/asha.py


def test_tune_keeps_the_rungs_of_asha_in_brackets():
    """Else a resumed search judges the survivors again, or reads the rungs wrong."""
    with needed("the rungs of AsyncHyperBandScheduler", "search/asha.py"):
        asha = AsyncHyperBandScheduler("epoch", "loss", "min", max_t=9, grace_period=1, reduction_factor=3, brackets=2)
        assert [[at for at, _ in bracket._rungs] for bracket in asha._brackets] == [[9, 3, 1], [9, 3]]
        trial = SimpleNamespace(trial_id="t")
        asha.on_trial_add(None, trial)
        bracket = asha._trial_info["t"]
        bracket._rungs[-1][1]["earlier"] = -1.0  # a loss of 1, by which ours is judged
        assert bracket in asha._brackets
        last = int(bracket._rungs[-1][0])
        assert asha.on_trial_result(None, trial, {"epoch": last, "loss": 2.0}) == TrialScheduler.STOP
        assert bracket._rungs[-1][1] == {"earlier": -1.0, "t": -2.0}


# search/tpe.py


def test_optuna_tells_how_it_draws_a_parameter(tmp_path):
    """Else a proposal that a kill cut short is completed otherwise than it would have been."""
    with needed("how a trial is asked for a parameter", "search/tpe.py", optuna):
        study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
        study.enqueue_trial({"fixed": 0.5})
        known = study.ask()
        trial = optuna.Trial(study, known._trial_id)
        distribution = FloatDistribution(0, 1)
        assert trial._is_fixed_param("fixed", distribution) is True
        assert trial._is_fixed_param("free", distribution) is False
        assert trial._is_relative_param("free", distribution) is False
        assert trial._suggest("fixed", distribution) == 0.5
        assert study.trials[0].params == {"fixed": 0.5}
        assert study.trials[0]._trial_id == known._trial_id


def test_tpe_reads_the_trials_of_a_study_through_one_method():
    """Else it takes paused trials for running ones."""
    with needed("how TPE reads the trials of a study", "search/tpe.py", optuna):
        source = inspect.getsource(optuna.samplers.TPESampler)
        assert source.count("study._get_trials(") == 3
        assert ".get_trials(" not in source
        assert parameters(optuna.Study._get_trials) == ["self", "deepcopy", "states", "use_cache"]
        for hook in ("infer_relative_search_space", "sample_relative", "sample_independent"):
            assert parameters(getattr(optuna.samplers.TPESampler, hook))[:3] == ["self", "study", "trial"]


def test_ray_keeps_metric_and_mode_of_a_searcher():
    with needed("the attributes of Searcher", "search/tpe.py"):
        searcher = ray.tune.search.Searcher(metric="loss", mode="min")
        assert (searcher._metric, searcher._mode) == ("loss", "min")


# search/study.py


def test_optuna_names_the_storage_of_a_study():
    with needed("the storage of a study", "search/study.py", optuna):
        storage = optuna.storages.InMemoryStorage()
        study = optuna.create_study(storage=storage)
        assert optuna.create_study(storage=study._storage, study_name="other")._storage is study._storage


def test_optuna_locks_a_journal_with_a_file_of_this_name(tmp_path):
    """Else a lock that a killed process left holds up the next session."""
    with needed("the name of a journal's lock", "search/study.py", optuna):
        journal = JournalFileBackend(str(tmp_path / "study.journal"))
        assert journal._lock._lock_file == str(tmp_path / "study.journal.lock")
        JournalStorage(journal)


def private_attributes(tree: ast.Module) -> set[str]:
    """Attributes with one leading underscore that this file reads or calls and does not define."""
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    own |= {node.attr for node in attributes if isinstance(node.ctx, ast.Store)}
    return {node.attr for node in attributes if node.attr.startswith("_") and not node.attr.startswith("__")} - own


def private_imports(tree: ast.Module) -> list[str]:
    found = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    found += [
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    found += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    private = [name for name in found if any(part.startswith("_") and part[1] != "_" for part in name.split("."))]
    return [name for name in private if not name.startswith("resvae_ray.")]


def test_private_parts_of_other_packages_are_used_in_few_files():
    for path in PACKAGE.rglob("*.py"):
        tree, file = ast.parse(path.read_text()), path.relative_to(PACKAGE).as_posix()
        new = private_attributes(tree) - USED_IN.get(file, set())
        assert not new, f"{file} uses {new}: test it here, and add it to USED_IN"
        assert file == ALSO_IMPORTED_IN or not private_imports(tree), f"{file} imports a private module"
