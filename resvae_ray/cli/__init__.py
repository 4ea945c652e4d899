"""`resvae-ray`: verbs and exit codes, no logic.

Exit codes: 0 done, 1 the job failed, 2 wrong usage or configuration, 3 bad data, 130 interrupted. Results go to stdout,
progress and errors to stderr; an error is one line. A verb loads what it needs when it runs.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from resvae_ray._version import __version__
from resvae_ray.cli import data_verbs, doctor_verb, embed_verb, encode_verbs, report_verbs, run_verb, search_verbs
from resvae_ray.cli.verb import one_line
from resvae_ray.errors import Interrupted, JobError, ResVAERayError, system_line
from resvae_ray.on_ray.cores import bounded_threads
from resvae_ray.stop_signals import interrupted_by_signals


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    options = build_parser().parse_args(arguments)
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        with interrupted_by_signals(), bounded_threads():
            options.verb(options)
    except ResVAERayError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted; nothing half-written is left, run the same command again", Interrupted.exit_code)
    except BrokenPipeError:
        # The reader closed the pipe; redirect stdout, so that Python's final flush does not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except MemoryError as error:
        return _fail(f"not enough memory: {error}" if str(error) else "not enough memory", JobError.exit_code)
    except OSError as error:
        return _fail(system_line(error), JobError.exit_code)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """All verbs with their options."""
    parser = _Parser(prog="resvae-ray", description="Finds the Res-VAE that compresses protein features best.")
    parser.add_argument("--version", action="version", version=f"resvae-ray {__version__}")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB", parser_class=_Parser)
    run_verb.add_verbs(verbs)
    embed_verb.add_verbs(verbs)
    data_verbs.add_verbs(verbs)
    search_verbs.add_verbs(verbs)
    report_verbs.add_verbs(verbs)
    encode_verbs.add_verbs(verbs, main)
    doctor_verb.add_verbs(verbs)
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _fail(message: str, code: int) -> int:
    print(f"resvae-ray: {one_line(message)}", file=sys.stderr)
    return code
