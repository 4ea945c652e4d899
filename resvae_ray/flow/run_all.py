"""A whole flow: FASTA or features in, FEATURES, DATASET, RUN, MODEL, evaluation, LATENTS and report out, in one folder.

    run_all("proteins.csv", "out")          # killed at any moment, the same call resumes it

A step is done when its result is there, and every result appears whole. So a flow resumes at the first result that is
missing; a search and an encoding resume within themselves.
"""

import shutil
from contextlib import ExitStack
from pathlib import Path

from resvae_ray import names
from resvae_ray.config_file import config_to_toml
from resvae_ray.errors import Interrupted, ResVAERayError, UsageError
from resvae_ray.extras import require
from resvae_ray.files.atomic import write_text
from resvae_ray.files.place import LocalPlace, local_target, refuse_inside
from resvae_ray.flow.flow_settings import FlowSettings, absolute, require_same
from resvae_ray.flow.steps import Step, steps_of
from resvae_ray.flow.watch import Watch
from resvae_ray.on_ray.cluster import ray_session
from resvae_ray.search.run.lock import hold

RECORDS = {names.FLOW_FILE, names.FLOW_LOCK, names.SEARCH_FILE}


def run_all(
    source: str | Path, folder: str | Path, settings: FlowSettings | None = None, *, watch: Watch | None = None
) -> Path:
    """Runs all steps that are not done yet and returns the folder.

    Args:
        source: proteins in FASTA or a table, or features in any format that `import_features` reads.
        folder: new, or that of a flow to resume.
        watch: hears of each step.

    Raises:
        UsageError: the folder holds something else or was begun with other settings, another process works in it, or
            packages of the extra `insight` are not installed.
        DataError: a source or test set that cannot be read, or features that cannot be used.
        JobError: a step failed; after the cause is removed, the same call resumes the flow.
        Interrupted: the user stopped it; the same call resumes it.
    """
    home, source = local_target(folder), str(source)
    settings = (settings or FlowSettings()).for_source(source)
    require_ready(source, home, settings)
    home.mkdir(parents=True, exist_ok=True)
    watch = watch or Watch()
    with hold(home / names.FLOW_LOCK), ExitStack() as stack:
        if not (home / names.FLOW_FILE).exists():
            write_text(home / names.SEARCH_FILE, config_to_toml(settings.config))
            (home / names.FLOW_FILE).write_json(settings.record(source))
        try:
            _run_steps(steps_of(absolute(source), home, settings), settings, watch, stack)
        except Interrupted as error:
            raise Interrupted(f"{str(error).partition(';')[0]}; the same command resumes it") from None
        except ResVAERayError:
            _forget(home)
            raise
    return Path(home)


def _run_steps(steps: list[Step], settings: FlowSettings, watch: Watch, stack: ExitStack) -> None:
    connected = False
    for number, step in enumerate(steps, 1):
        if step.done():
            _remove_left(step.result)
            watch.found(step, number, len(steps))
            continue
        with watch.begins(step, number, len(steps)) as progress:
            if step.on_ray and not connected:
                # One session for all of them, since a local Ray takes seconds to start.
                stack.enter_context(ray_session(settings.config.resources.address))
                connected = True
            result = step.work(progress)
        watch.ended(step, result)


def _forget(home: LocalPlace) -> None:
    """Removes the folder if nothing has been made in it, so that a corrected command may use it."""
    if not {path.name for path in home.iterdir()} - RECORDS:
        for name in RECORDS:
            (home / name).unlink(missing_ok=True)
        home.rmdir()


def _remove_left(result: LocalPlace) -> None:
    """Removes the hidden files of a step that was killed after its result had appeared."""
    for left in result.parent.glob(f".{result.name}.*"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def require_ready(source: str, home: LocalPlace, settings: FlowSettings) -> None:
    """Checks all that can be known before the first step.

    Raises:
        UsageError: see `run_all`.
    """
    require("insight", "sklearn", "plotly", "jinja2")
    refuse_inside(home, source)
    if (home / names.FLOW_FILE).exists():
        require_same(home, settings.record(source))
    elif home.is_dir() and {path.name for path in home.iterdir()} - RECORDS:
        raise UsageError(f"{home}: already there, and not begun by 'resvae-ray run'; choose another folder")
    elif home.is_file():
        home.refuse_existing()
