"""The memory of a validation does not depend on the number of rows."""

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys
from pathlib import Path

import numpy as np
import torch

from resvae_ray.config import TrainingConfig
from resvae_ray.model.validation import validate
from resvae_ray.model.network import ResVAE

torch.set_num_threads(1)


class Streamed:
    rows, dim = int(sys.argv[1]) * 1024, 1280

    def in_order(self, block_rows):
        pending = []
        for _ in range(self.rows // 512):
            pending.append(np.zeros((512, self.dim), np.float32))
            if len(pending) == 3:
                matrix, pending = np.concatenate(pending), [np.zeros((512, self.dim), np.float32)]
                yield from torch.from_numpy(matrix[:block_rows]).split(block_rows)
        yield torch.from_numpy(np.concatenate(pending))


validate(ResVAE(1280, 16, 4), Streamed(), TrainingConfig().metric)
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of a process so")
def test_a_validation_of_many_rows_holds_as_much_as_one_of_few():
    """Each block's losses kept apart lay between the large blocks, and 240,000 rows grew the heap by 700 MB."""
    few, many = (_peak_mb(blocks) for blocks in (8, 64))
    assert many - few < 50


def _peak_mb(blocks: int) -> float:
    done = subprocess.run([sys.executable, "-c", CODE, str(blocks)], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024
