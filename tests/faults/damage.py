"""Ways to break the bytes of a file."""

from collections.abc import Callable

import numpy as np

EDGE = 256  # bytes at either end: headers and footers
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF)

Damage = Callable[[bytearray, np.random.Generator], bytearray]


def cut(content: bytearray, draw: np.random.Generator) -> bytearray:
    """Keeps only the beginning."""
    return content[: draw.integers(len(content))]


def flip(content: bytearray, draw: np.random.Generator) -> bytearray:
    """One bit, anywhere."""
    content[draw.integers(len(content))] ^= 1 << draw.integers(8)
    return content


def flip_edge(content: bytearray, draw: np.random.Generator) -> bytearray:
    """One bit in the header or the footer."""
    place = draw.integers(min(EDGE, len(content)))
    content[place if draw.integers(2) else -1 - place] ^= 1 << draw.integers(8)
    return content


def flip_several(content: bytearray, draw: np.random.Generator) -> bytearray:
    """Some bits."""
    for _ in range(draw.integers(2, 20)):
        flip(content, draw)
    return content


def extreme(content: bytearray, draw: np.random.Generator) -> bytearray:
    """Writes an extreme number where a size may be stored."""
    width = int(draw.choice([1, 2, 4, 8]))
    value = EXTREMES[draw.integers(len(EXTREMES))] & ((1 << 8 * width) - 1)
    place = draw.integers(max(1, len(content) - width))
    content[place : place + width] = value.to_bytes(width, "little")
    return content


def zeros(content: bytearray, draw: np.random.Generator) -> bytearray:
    """Zeroes a range that was never written, as after a crash of the machine."""
    place, length = draw.integers(len(content)), draw.integers(1, 1 + len(content) // 4)
    content[place : place + length] = bytes(len(content[place : place + length]))
    return content


def noise(content: bytearray, draw: np.random.Generator) -> bytearray:
    """Replaces a range with random bytes."""
    place, length = draw.integers(len(content)), draw.integers(1, 64)
    content[place : place + length] = draw.bytes(length)
    return content


def lose(content: bytearray, draw: np.random.Generator) -> bytearray:
    """Removes a range of bytes."""
    place = draw.integers(len(content))
    del content[place : place + draw.integers(1, 64)]
    return content


def repeat(content: bytearray, draw: np.random.Generator) -> bytearray:
    """Repeats a range of bytes."""
    place = draw.integers(len(content))
    stretch = content[place : place + draw.integers(1, 512)]
    return content[:place] + stretch + content[place:]


DAMAGES: tuple[Damage, ...] = (cut, flip, flip, flip_edge, flip_several, extreme, extreme, zeros, noise, lose, repeat)


def damaged(whole: bytes, seed: tuple[int, ...]) -> tuple[str, bytes]:
    """A broken copy, the same for the same seed, and what was done to it."""
    draw = np.random.default_rng(seed)
    damage = DAMAGES[draw.integers(len(DAMAGES))]
    return damage.__name__, bytes(damage(bytearray(whole), draw))
