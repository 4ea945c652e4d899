"""On the hosts: small files and parts, so that a few proteins are many pieces. A line of a .pth file imports it."""

import importlib.abc
import importlib.util
import sys

ROWS_IN_A_FILE, DIM = 50, 16
FILE_BYTES = 4 * DIM * ROWS_IN_A_FILE
SIZES = {
    "resvae_ray.data.features": {"FILE_BYTES": FILE_BYTES},
    "resvae_ray.data.features_writer": {"ROW_GROUP_BYTES": FILE_BYTES},
    "resvae_ray.embed.embed_proteins": {"PART_RESIDUES": (3000, 3000)},
}


class SmallSizes(importlib.abc.MetaPathFinder):
    """Sets SIZES in these modules as soon as they are loaded."""

    def find_spec(self, name, path, target=None):
        if name not in SIZES:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            vars(module).update(SIZES[name])

        spec.loader.exec_module = exec_module
        return spec


if sys.prefix.endswith("/.resvae-ray/venv"):
    sys.meta_path.insert(0, SmallSizes())
