"""ESM-2 as transformers computes it: letters in, the last hidden layer out, pooled to one vector a protein.

In evaluation mode, with token dropout's rescaling as the models were trained. Every residue is one token; a letter that
the vocabulary does not have is its unknown token. With bfloat16 only the matrix products are, on weights rounded to it:
the sums from layer to layer, the norms, the pooling and the vectors are float32.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from resvae_ray.embed.batching import token_batches, windows
from resvae_ray.embed.model_files import ModelFiles
from resvae_ray.embed.pooling import Hidden, pool, stitch
from resvae_ray.embed.settings import BFLOAT16, TRUNCATE, Embedding
from resvae_ray.errors import DataError, JobError, first_line

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
NEVER_USED = ("contact_head.", "pooler.")  # parts of the network that the last hidden layer does not need


class LanguageModel:
    """A network in eval mode on its device, and the numbers of its tokens.

    Args:
        tokens: (128) the token of each ASCII sign.
        special: the tokens cls, eos, pad.
    """

    def __init__(self, network: Any, tokens: np.ndarray, special: tuple[int, int, int], precision: str) -> None:
        self.network, self.tokens, self.precision = network, tokens, precision
        self.cls, self.eos, self.pad = special
        self.device = next(network.parameters()).device

    @classmethod
    def load(cls, files: ModelFiles, precision: str, gpu: bool = True) -> "LanguageModel":
        """
        Args:
            gpu: onto the GPU, if there is one.

        Raises:
            DataError: the files are not a complete ESM-2.
        """
        tokens, special = _vocabulary(files)
        network = _network(files)
        if precision == BFLOAT16:
            for module in network.modules():
                if isinstance(module, torch.nn.Linear):
                    module.to(torch.bfloat16)
        return cls(network.to("cuda" if gpu and torch.cuda.is_available() else "cpu"), tokens, special, precision)

    def vectors(
        self, sequences: Sequence[str], sites: Sequence[Sequence[int]], settings: Embedding, threads: int = 1
    ) -> np.ndarray:
        """One vector a protein (n, width), in their order, which is best by length.

        Args:
            sites: the positions of each protein's sites within what is read of it, for the pooling that asks for them.
            threads: batches at a time, each on one thread, so that their number does not change a sum.

        Raises:
            JobError: a batch does not fit into the GPU's memory.
        """
        if settings.long == TRUNCATE:
            sequences = [sequence[: settings.max_length] for sequence in sequences]
        batches = token_batches([len(sequence) for sequence in sequences], settings.batch_tokens)

        def run(rows: range) -> np.ndarray:
            return self._batch([sequences[row] for row in rows], [sites[row] for row in rows], settings)

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
    def hidden(self, pieces: Sequence[str]) -> list[torch.Tensor]:
        """The last hidden layer over each piece (residues + 2, D), float32, special tokens first and last."""
        lengths = [len(piece) + 2 for piece in pieces]
        tokens = np.full((len(pieces), max(lengths)), self.pad)
        for row, piece in enumerate(pieces):
            tokens[row, 0], tokens[row, len(piece) + 1] = self.cls, self.eos
            tokens[row, 1 : len(piece) + 1] = self.tokens[np.frombuffer(piece.encode("ascii"), np.uint8)]
        mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == BFLOAT16):
            output = self.network(
                input_ids=torch.from_numpy(tokens).to(self.device),
                attention_mask=torch.from_numpy(mask.astype(np.int64)).to(self.device),
            )
        last = output.last_hidden_state.float()
        return [last[row, :length] for row, length in enumerate(lengths)]

    @torch.inference_mode()
    def _batch(self, sequences: Sequence[str], sites: Sequence[Sequence[int]], settings: Embedding) -> np.ndarray:
        cut = [windows(sequence, settings.max_length) for sequence in sequences]
        pieces = [piece for pieces in cut for piece in pieces]
        read: list[torch.Tensor] = []
        for rows in token_batches([len(piece) for piece in pieces], settings.batch_tokens):
            read += self.hidden([pieces[row] for row in rows])
        pooled, start = [], 0
        for pieces_of_one, positions in zip(cut, sites, strict=True):
            hidden: Hidden = stitch(read[start : start + len(pieces_of_one)])
            pooled.append(pool(hidden, settings.poolings, positions))
            start += len(pieces_of_one)
        return torch.stack(pooled).cpu().numpy()


def _vocabulary(files: ModelFiles) -> tuple[np.ndarray, tuple[int, int, int]]:
    """The token of each ASCII sign (128), and those of cls, eos and pad."""
    from transformers import EsmTokenizer

    try:
        tokenizer = EsmTokenizer.from_pretrained(files.folder, local_files_only=True)
    except Exception as error:  # whatever a damaged file makes its readers raise
        raise DataError(f"{files.folder}: the tokenizer cannot be loaded: {first_line(error)}") from None
    unknown = tokenizer.unk_token_id
    special = (tokenizer.cls_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    tokens = np.array([tokenizer.convert_tokens_to_ids(chr(sign)) for sign in range(128)])
    if None in special or len({*special, unknown, *tokens[[ord(letter) for letter in RESIDUES]]}) < 24:
        raise DataError(f"{files.folder}: its vocabulary is not that of an ESM-2, with a token for each amino acid")
    return tokens, special


def _network(files: ModelFiles) -> Any:
    """The network in eval mode, float32, every weight that is used from the files."""
    from transformers import EsmModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    safe = files.weights()[0].suffix == ".safetensors"
    try:
        loaded: Any = EsmModel.from_pretrained(
            files.folder,
            add_pooling_layer=False,
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
