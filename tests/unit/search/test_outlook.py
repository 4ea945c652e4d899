import pytest

from resvae_ray.search.outlook import duration, epochs_left


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (65, "1 min 05 s"), (3700, "1 h 01 min")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_epochs_left_go_by_the_trials_that_have_ended():
    assert epochs_left(10, [], [3]) is None
    assert epochs_left(10, [80, 10], [5, 44]) == 6 * 45 + 40 + 1
    assert epochs_left(2, [80, 10], []) == 0
    assert epochs_left(2, [80, 10, 9], []) == 0, "a search that was resumed with fewer trials"
