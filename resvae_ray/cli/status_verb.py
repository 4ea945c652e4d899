"""The verb status: shows the state of a search, once or repeatedly, as text or JSON."""

import argparse
import json
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from resvae_ray.cli.verb import add_json, add_verb
from resvae_ray.errors import Interrupted
from resvae_ray.progress import duration
from resvae_ray.wording import count

if TYPE_CHECKING:
    from resvae_ray.search.run.run import Run
    from resvae_ray.search.run.status import Status

WATCH_S = 5.0  # between two updates
LOG_S = 300.0  # between two lines in a log file while the counts do not change


def add_verb_status(verbs: Any) -> None:
    """Adds `status` to the verbs of the command line."""
    parser = add_verb(
        verbs,
        "status",
        _status,
        "show the state of a search, while it runs and after",
        arguments={"RUN": "folder of a search"},
        example="run --watch",
    )
    add_json(parser, "print JSON, for programs; with --watch, one line per update")
    parser.add_argument("--watch", action="store_true", help=f"repeat every {WATCH_S:g} seconds until the search ends")


def _status(options: argparse.Namespace) -> None:
    from resvae_ray.search.run.run import Run

    if options.watch:
        _watch(options)
        return
    run = Run.open(options.run)
    status = run.standing()
    print(json.dumps(status.as_json(), indent=2) if options.json else _text(run, status))


def _watch(options: argparse.Namespace) -> None:
    looks = _looks(options.run)
    try:
        if options.json:
            _print_json(looks)
        elif sys.stdout.isatty():
            _redraw(looks)
        else:
            _print_changes(looks)
    except KeyboardInterrupt:
        # The exit status must not be 0, or a script would conclude that the search has ended.
        raise Interrupted("stopped watching; the search continues") from None


def _looks(path: str) -> "Iterator[tuple[Run, Status]]":
    """Yields the status every few seconds until the search ends."""
    from resvae_ray.search.run.run import Run

    run = Run.open(path)
    while True:
        status = run.standing()
        yield run, status
        if status.state != "running":
            return
        time.sleep(WATCH_S)
        run = run.reread()


def _print_json(looks: "Iterator[tuple[Run, Status]]") -> None:
    for _, status in looks:
        print(json.dumps(status.as_json()), flush=True)


def _redraw(looks: "Iterator[tuple[Run, Status]]") -> None:
    """Redraws one text in place on the terminal."""
    drawn = 0
    for run, status in looks:
        lines = _text(run, status).splitlines()
        if status.state == "running":
            lines = _fitting(lines, *shutil.get_terminal_size())
        back = f"\033[{drawn}F" if drawn else ""
        print(f"{back}\033[J" + "\n".join(lines), flush=True)
        drawn = len(lines)


def _fitting(lines: list[str], width: int, height: int) -> list[str]:
    """Wraps and cuts the lines to fit the terminal, which could not redraw lines that it wraps or scrolls."""
    wrapped = [part for line in lines for part in textwrap.wrap(line, width - 1, subsequent_indent="  ")]
    if len(wrapped) >= height:
        wrapped = [*wrapped[: height - 2], f"and {len(wrapped) - height + 2} more lines"[: width - 1]]
    return wrapped


def _print_changes(looks: "Iterator[tuple[Run, Status]]") -> None:
    """Prints a line when a trial begins or ends, or after a while, and the full status at the end."""
    said, at = None, 0.0
    for run, status in looks:
        if status.state != "running":
            print(_text(run, status), flush=True)
        elif said != (now := (status.counts, status.finalist_trainings_left)) or time.monotonic() - at >= LOG_S:
            print("; ".join(_headlines(run, status)), flush=True)
            said, at = now, time.monotonic()


def _text(run: "Run", status: "Status") -> str:
    lines = _headlines(run, status)
    for trial in status.running:
        loss = f", best {trial['best_val_loss']:,.2f}" if trial["best_val_loss"] is not None else ""
        node = f", on {trial['node']}" if trial["node"] else ""
        epoch = f"epoch {trial['epochs']} of {run.config.training.epochs}" if trial["epochs"] else "no epoch yet"
        lines.append(f"running: {_which(trial)}, {epoch}{loss}{node}")
    lines += finalist_lines(status)
    lines += [f"failed: {_which(failure)}: {failure['failure']}" for failure in status.failures]
    return "\n".join(lines + _advice(run, status))


def finalist_lines(status: "Status") -> list[str]:
    """One line per finalist with its loss in the search and over fresh seeds, then the outcome of the round."""
    lines = [_finalist_line(row) for row in status.finalists]
    if left := status.finalist_trainings_left:
        lines.append(f"finalists: {left} trainings left; the model is the earlier one until they end")
    elif chosen := status.chosen:
        lines.append(f"chosen: trial {chosen['number']}, whose retraining with the lowest loss is the model")
    elif lines:
        lines.append("finalists: every retraining failed; the model is the best trial of the search")
    return lines


def _finalist_line(row: dict[str, Any]) -> str:
    text = f"finalist: trial {row['number']}, {row['search_loss']:,.2f} in the search"
    if row["mean"] is not None:
        spread = f" ± {row['sd']:,.2f}" if row["sd"] is not None else ""
        gap = f" (overtuning gap {row['gap']:+,.2f})" if row["gap"] is not None else ""
        early = "" if row["gap"] is not None else f" (stopped at epoch {row['search_epochs']})"
        text += f"{early}, {row['mean']:,.2f}{spread} over {count(len(row['losses']), 'seed')}{gap}"
    return text + (f", {row['failed']} failed" if row["failed"] else "")


def _which(training: dict[str, Any]) -> str:
    """A trial, or a finalist's retraining."""
    repeat = training["repeat"]
    return f"trial {training['number']}" if repeat is None else f"finalist {training['number']}, seed {repeat + 1}"


def _headlines(run: "Run", status: "Status") -> list[str]:
    counts = ", ".join(f"{count} {state}" for state, count in status.counts.items())
    lines = [f"{run.where}: {status.state}; {counts}; {status.epochs:,} epochs{_pace(status)}"]
    if best := status.best:
        params = ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in best.params.items()
        )
        where = f"trial {best.number}, loss {best.best_val_loss:,.2f} at epoch {best.best_epoch}"
        lines.append(f"best: {where} ({params})")
    if status.enough:
        lines.append(f"ended by itself: {status.enough}")
    return lines


def _pace(status: "Status") -> str:
    if status.state != "running":
        return ""
    rate, left, ago = status.epochs_per_s, status.seconds_left, status.last_epoch_s
    parts = [f"{rate:.2g} a second"] if rate else []
    parts += [f"the last {duration(ago)} ago"] if ago is not None else []
    parts += [f"about {duration(left)} left"] if left is not None else []
    return "".join(f", {part}" for part in parts)


def _advice(run: "Run", status: "Status") -> list[str]:
    if status.state != "interrupted":
        return []
    last = status.worker
    heard = f" ({last.who} last reported {duration(last.seen_s)} ago)" if last else ""
    return [f"no process is running it{heard}; resume with: {run.resume_command}"]
