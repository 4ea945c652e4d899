import numpy as np
import pyarrow as pa
import pytest

from resvae_ray.data import hashes
from resvae_ray.data.hashes import find_repeats, hash_set, hash_texts, hash_vectors, members


def test_texts():
    made = hash_texts(pa.array(["a", "b", "a", "", None, "é"]))
    assert made[0] == made[2]
    assert len(set(made.tolist())) == 4
    assert (made[3:5] == hashes.ABSENT).all()
    assert hashes.ABSENT not in hash_set([pa.array(["a", None]), pa.array(["", "b", "a"])])


def test_vectors_of_few_bits_differ():
    """Values with many zero bits (whole numbers, bfloat16) make a careless hash collide."""
    grid = np.stack(np.meshgrid(*[np.arange(-8, 8, dtype=np.float32)] * 4), -1).reshape(-1, 4)
    assert len(np.unique(hash_vectors(grid))) == len(grid)


def test_zero_has_no_sign_and_a_view_hashes_like_its_copy():
    matrix = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    assert (hash_vectors(matrix[::2]) == hash_vectors(matrix)[::2]).all()
    assert hash_vectors(np.float32([[0.0, 1]])) == hash_vectors(np.float32([[-0.0, 1]]))


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_members(chunk, monkeypatch):
    monkeypatch.setattr(hashes, "CHUNK_ROWS", chunk)
    generator = np.random.default_rng(0)
    values, known = generator.integers(0, 50, 40, np.uint64), np.unique(generator.integers(0, 50, 20, np.uint64))
    assert (members(values, known) == np.isin(values, known)).all()
    assert not members(values, known[:0]).any()


@pytest.mark.parametrize("seed", range(5))
def test_repeats(seed):
    values = np.random.default_rng(seed).integers(0, 30, 25, np.uint64)
    seen, again = {}, []
    for row, value in enumerate(values.tolist()):
        if value and value in seen:
            again.append((row, seen[value]))
        seen.setdefault(value, row)
    found = find_repeats(values)
    assert (found.rows, found.first) == (len(again), again[0])


def test_nothing_repeats():
    assert find_repeats(np.uint64([3, 0, 1, 0, 0])).first is None
    assert find_repeats(np.uint64([3, 0, 1, 0, 0])).rows == 0
    assert find_repeats(np.uint64([])).rows == 0


def test_texts_keep_their_hashes():
    """They are in FEATURES, in dataset.json and in run.json: no version may compute others."""
    texts = pa.array(["P12345", "", None, "äß☃𝄞", "A" * 300, "P12345"])
    known = [3832581315948755871, 0, 0, 7264322581332653597, 360943104440745047, 3832581315948755871]
    assert hash_texts(texts).tolist() == known
    assert hash_texts(texts.slice(3, 2)).tolist() == known[3:5]
    assert hash_texts(texts.cast(pa.large_string())).tolist() == known
    assert hash_texts(pa.array([], pa.string())).tolist() == []
