"""The families of protein language models that `embed` reads, one file each.

To add a family: write its file with a subclass of `Family`, add it to FAMILIES, and write its tiny model in
tests/tiny_models.py; the conformance tests run on it.
"""

from pathlib import Path
from typing import Any

from resvae_ray.embed.families.ankh import Ankh
from resvae_ray.embed.families.esm1 import Esm1
from resvae_ray.embed.families.esm2 import Esm2
from resvae_ray.embed.families.esmc import Esmc
from resvae_ray.embed.families.family import Family
from resvae_ray.embed.families.prost_t5 import ProstT5
from resvae_ray.embed.families.prot_t5 import ProtT5
from resvae_ray.errors import DataError

FAMILIES: tuple[Family, ...] = (Esm2(), Esm1(), Esmc(), ProtT5(), ProstT5(), Ankh())


def family_of(config: dict[str, Any], folder: Path) -> Family:
    """The family of a model, by its `config.json` and, where that does not tell, by its vocabulary.

    Raises:
        DataError: a model of no family, or one without its vocabulary.
    """
    kind = config.get("model_type")
    candidates = [family for family in FAMILIES if family.model_type == kind]
    if names := missing_vocabulary(config, folder):
        raise DataError(f"{folder}: no {' or '.join(names)} there; {candidates[0].name} has it beside config.json")
    for family in candidates:
        if family.describes(config, folder):
            return family
    names = ", ".join(family.name for family in FAMILIES)
    raise DataError(f"{folder / 'config.json'} describes {kind or 'no model'}; expected one of {names}")


def missing_vocabulary(config: dict[str, Any], folder: Path) -> tuple[str, ...]:
    """The names of files of which one should be in the folder of a model, and none is."""
    family = next((family for family in FAMILIES if family.model_type == config.get("model_type")), None)
    return family.vocabularies if family and not family.vocabulary_files(folder) else ()
