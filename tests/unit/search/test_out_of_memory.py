"""A search that Ray ended for want of memory is repeated as long as it gets on."""

# pyright: reportArgumentType=false

from types import SimpleNamespace

import pytest
from ray.exceptions import OutOfMemoryError

from resvae_ray.search import carry_out


class Search:
    """A search that comes to its next state each time that it runs, and then ends for want of memory."""

    def __init__(self, *states):
        self.states, self.runs = list(states), 0

    def trainings_left(self):
        return self.states[0][0]

    def records(self):
        return [SimpleNamespace(state="paused", last_epoch=epoch) for epoch in self.states[0][1]]

    def work(self):
        self.runs += 1
        if len(self.states) == 1:
            return False
        self.states.pop(0)
        raise OutOfMemoryError("a worker was killed")


@pytest.mark.parametrize(
    "states", [[(3, []), (2, []), (1, [])], [(3, []), (3, [10]), (3, [10, 10]), (3, [30, 10]), (2, [10])]]
)
def test_it_is_repeated_while_trainings_end_or_pause(states, capsys):
    search = Search(*states)
    assert carry_out._patiently(search, search.work) is False
    assert search.runs == len(states)
    assert capsys.readouterr().err.count("resuming from the checkpoints") == len(states) - 1


@pytest.mark.parametrize("states", [[(3, []), (3, [])], [(3, [10]), (3, [10])], [(3, []), (2, []), (2, [])]])
def test_it_ends_when_nothing_was_finished(states):
    search = Search(*states)
    with pytest.raises(OutOfMemoryError):
        carry_out._patiently(search, search.work)
    assert search.runs == len(states) - 1
