"""A process is killed during every write: the old or the new state is there, never half; the same again ends it."""

import random

import pytest
from dying import DIED, DONE, Writer
from rounds import LONG, tries
from writes import WRITES

pytestmark = pytest.mark.timeout(3600)
MOST = 400  # steps of a write; more would be a mistake of the test


@pytest.fixture(scope="module")
def writer():
    process = Writer()
    yield process
    process.close()


@pytest.fixture
def expected(tmp_path):
    """The content before and after an undisturbed write."""

    def find(name):
        folder = tmp_path / "undisturbed"
        folder.mkdir()
        WRITES[name].prepare(folder)
        old = WRITES[name].seen(folder)
        WRITES[name].write(folder)
        return old, WRITES[name].seen(folder)

    return find


def put_to_death(writer, name, folder, expected, **death):
    """Kills a write in a folder of its own, looks at what is there, and does the same again; what became of it."""
    folder.mkdir()
    old, new = expected
    WRITES[name].prepare(folder)
    fate, _ = writer.write(name, folder, **death)
    assert fate in (DIED, DONE), death
    seen = WRITES[name].seen(folder)
    half = {part: value for part, value in seen.items() if value not in (old[part], new[part])}
    assert not half, (death, half)
    assert fate == DIED or seen == new, death
    WRITES[name].write(folder)
    assert WRITES[name].seen(folder) == new, death
    assert not list(folder.rglob(".*.part*")), death
    return fate


@pytest.mark.parametrize("name", WRITES)
def test_killed_at_each_step(name, writer, expected, tmp_path):
    known, steps = expected(name), range(1, MOST)
    if not LONG:  # the first ones, where folders are made, and others at random
        steps = sorted({1, 2, *random.Random(name).sample(range(3, 25), 2)})
    for step in steps:
        if put_to_death(writer, name, tmp_path / f"step-{step}", known, step=step) == DONE:
            return
    assert not LONG, "it does not come to its end"


@pytest.mark.parametrize("name", WRITES)
def test_killed_at_a_file_size(name, writer, expected, tmp_path):
    known = expected(name)
    old = {path.stat().st_size for path in (tmp_path / "undisturbed").rglob("*") if path.is_file()}
    sizes = sorted({0, 1, 30, *(3**power for power in range(4, 11)), *(size - 5 for size in old if size > 5)})
    for size in sizes if LONG else random.Random(name).sample(sizes, min(2, len(sizes))):
        put_to_death(writer, name, tmp_path / f"size-{size}", known, size=size)


@pytest.mark.parametrize("name", WRITES)
def test_killed_at_a_random_moment(name, writer, expected, tmp_path):
    known = expected(name)
    (tmp_path / "timed").mkdir()
    WRITES[name].prepare(tmp_path / "timed")
    fate, seconds = writer.write(name, tmp_path / "timed")
    assert fate == DONE
    for seed in range(tries(1, 30)):
        after = random.Random(f"{name} {seed}").uniform(0, seconds)
        put_to_death(writer, name, tmp_path / f"seed-{seed}", known, after=after)
