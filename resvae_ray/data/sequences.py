"""How a sequence is written: one protein has one text, wherever it stands."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, out of sight of a type checker.

import pyarrow as pa
import pyarrow.compute as pc


def clean_sequences(sequences: pa.Array) -> pa.Array:
    """Texts (n) in upper case, without white space and without one `*` at the end (the stop codon)."""
    return pc.replace_substring_regex(pc.ascii_upper(pc.replace_substring_regex(sequences, r"\s+", "")), r"\*$", "")
