"""The verb that examines a cluster before work is given to it: doctor."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from resvae_ray.cli.verb import add_address, add_json, add_verb
from resvae_ray.errors import JobError

if TYPE_CHECKING:
    from resvae_ray.doctor.diagnosis import Finding

MARKS = {True: "ok", False: "problem", None: "-"}


def add_verbs(verbs: Any) -> None:
    """Adds it."""
    parser = add_verb(
        verbs,
        "doctor",
        _doctor,
        "check the machines of a Ray cluster, or this machine, before a search",
        arguments={},
        example="--address auto --storage /shared/folder",
    )
    add_address(parser)
    parser.add_argument("--storage", default="", metavar="FOLDER", help="shared folder to test from every machine")
    add_json(parser)
    parser.epilog = "Exit code 0 if all checks pass, else 1."


def _doctor(options: argparse.Namespace) -> None:
    from resvae_ray.doctor.nodes import examine_cluster

    findings = examine_cluster(options.address, options.storage)
    print(json.dumps([it.record() for it in findings], indent=2) if options.json else _lines(findings))
    if problems := [it.about for it in findings if it.ok is False]:
        raise JobError(f"not well: {', '.join(problems)}")


def _lines(findings: "list[Finding]") -> str:
    return "\n".join(f"{it.about:<9} {MARKS[it.ok]:<8} {it.text}{f'; {it.cure}' if it.cure else ''}" for it in findings)
