"""A protein language model as transformers computes it: letters in, hidden layers out, pooled to vectors per protein.

In evaluation mode, with ESM's rescaling for token dropout as the models were trained. Every residue is one token; a
letter that the vocabulary does not have is its unknown token. With bfloat16 only the matrix products are, on weights
rounded to it: the sums from layer to layer, the norms, the pooling and the vectors are float32. float16 is not offered:
T5's sums overflow in it.

A layer is what transformers calls `hidden_states[N]`: 0 is the embeddings of the tokens, N the sum after block N. The
last is after the network's final norm, the others are before it.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from resvae_ray.embed.batching import token_batches, windows
from resvae_ray.embed.families.family import Tokens
from resvae_ray.embed.model_files import ModelFiles
from resvae_ray.embed.pooling import pool, stitch
from resvae_ray.embed.settings import BFLOAT16, TRUNCATE, Embedding, PooledLayer
from resvae_ray.errors import DataError, JobError, first_line

NEVER_USED = ("contact_head.", "pooler.")  # parts of the network that the hidden layers do not need


class LanguageModel:
    """A network in eval mode on its device, and the numbers of its tokens."""

    def __init__(self, files: ModelFiles, network: Any, tokens: Tokens, precision: str) -> None:
        self.files, self.network, self.tokens, self.precision = files, network, tokens, precision
        self.before = len(tokens.first)
        self.device = next(network.parameters()).device

    @classmethod
    def load(cls, files: ModelFiles, precision: str, gpu: bool = True) -> "LanguageModel":
        """
        Args:
            gpu: onto the GPU, if there is one.

        Raises:
            DataError: the files are not a complete model.
        """
        tokens, network = files.family.tokens(files.folder), _network(files)
        if precision == BFLOAT16:
            for module in network.modules():
                if isinstance(module, torch.nn.Linear):
                    module.to(torch.bfloat16)
        return cls(files, network.to("cuda" if gpu and torch.cuda.is_available() else "cpu"), tokens, precision)

    def vectors(
        self, sequences: Sequence[str], sites: Sequence[Sequence[int]], settings: Embedding, threads: int = 1
    ) -> np.ndarray:
        """The vectors of each protein side by side (n, width), in their order, which is best by length.

        Args:
            sites: the positions of each protein's sites within what is read of it, for the pooling that asks for them.
            threads: batches at a time, each on one thread, so that their number does not change a sum.

        Raises:
            JobError: a batch does not fit into the GPU's memory.
        """
        outputs = self.files.outputs(settings)
        if settings.long == TRUNCATE:
            sequences = [sequence[: settings.max_length] for sequence in sequences]
        batches = token_batches([len(sequence) for sequence in sequences], settings.batch_tokens)

        def run(rows: range) -> np.ndarray:
            return self._batch([sequences[row] for row in rows], [sites[row] for row in rows], settings, outputs)

        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(threads) as pool_of_threads:
                return np.concatenate(list(pool_of_threads.map(run, batches)))
        except torch.OutOfMemoryError:
            raise JobError(
                f"--batch-tokens {settings.batch_tokens} with --max-length {settings.max_length}: the GPU's memory is "
                "too small; give less of the larger"
            ) from None

    @torch.inference_mode()
    def hidden(self, pieces: Sequence[str], layers: Sequence[int]) -> list[list[torch.Tensor]]:
        """The hidden layers over each piece: per piece and layer (tokens, D), float32, with the special tokens."""
        rows = [self._numbers(piece) for piece in pieces]
        lengths = [len(row) for row in rows]
        tokens = np.full((len(pieces), max(lengths)), self.tokens.pad)
        for number, row in enumerate(rows):
            tokens[number, : len(row)] = row
        mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
        last = self.files.layers
        inner = [layer for layer in layers if layer != last]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == BFLOAT16):
            output = self.network(
                input_ids=torch.from_numpy(tokens).to(self.device),
                attention_mask=torch.from_numpy(mask.astype(np.int64)).to(self.device),
                **({"output_hidden_states": inner} if inner else {}),
            )
        states = [(output.last_hidden_state if n == last else output.hidden_states[n]).float() for n in layers]
        return [[state[row, :length] for state in states] for row, length in enumerate(lengths)]

    def _numbers(self, piece: str) -> np.ndarray:
        """The tokens of a piece, with the special ones (before + residues + 1)."""
        letters = self.tokens.letters[np.frombuffer(piece.encode("ascii"), np.uint8)]
        return np.array([*self.tokens.first, *letters, self.tokens.last])

    @torch.inference_mode()
    def _batch(
        self,
        sequences: Sequence[str],
        sites: Sequence[Sequence[int]],
        settings: Embedding,
        outputs: Sequence[PooledLayer],
    ) -> np.ndarray:
        cut = [windows(sequence, settings.max_length) for sequence in sequences]
        pieces = [piece for pieces in cut for piece in pieces]
        layers = list(dict.fromkeys(output.layer for output in outputs))
        read: list[list[torch.Tensor]] = []
        for rows in token_batches([len(piece) for piece in pieces], settings.batch_tokens):
            read += self.hidden([pieces[row] for row in rows], layers)
        pooled, start = [], 0
        for pieces_of_one, positions in zip(cut, sites, strict=True):
            of_one = read[start : start + len(pieces_of_one)]
            whole = {n: stitch([piece[place] for piece in of_one], self.before) for place, n in enumerate(layers)}
            pooled.append(torch.cat([pool(whole[output.layer], output.pooling, positions) for output in outputs]))
            start += len(pieces_of_one)
        return torch.stack(pooled).cpu().numpy()


def _network(files: ModelFiles) -> Any:
    """The network in eval mode, float32, every weight that is used from the files."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    safe = files.weights()[0].suffix == ".safetensors"
    try:
        loaded: Any = files.family.network_class()(
            files.folder,
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            use_safetensors=safe,
            weights_only=True,
        )
    except Exception as error:  # whatever a damaged file makes its readers raise
        raise DataError(f"{files.folder}: the weights cannot be loaded: {first_line(error)}") from None
    network, report = loaded
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(NEVER_USED))
    if missing:
        raise DataError(f"{files.folder}: {len(missing)} weights are missing, the first is {missing[0]}")
    return network.eval()
