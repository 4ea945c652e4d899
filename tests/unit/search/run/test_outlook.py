import pytest

from resvae_ray.progress import duration
from resvae_ray.search.run.status import epochs_left


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (65, "1 min 05 s"), (3700, "1 h 01 min")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_epochs_left_go_by_the_trials_that_have_ended():
    assert epochs_left(10, 80, [], [3]) is None
    assert epochs_left(10, 80, [80, 10], [5]) == 7 * 45 + 40
    assert epochs_left(2, 80, [80, 10], []) == 0
    assert epochs_left(2, 80, [80, 10, 9], []) == 0, "a search that was resumed with fewer trials"


def test_a_trial_that_has_survived_longer_than_most_is_not_about_to_end():
    assert epochs_left(4, 80, [10, 10, 10], [12]) == 68
    assert epochs_left(4, 80, [10, 10, 80], [12]) == 68
    assert epochs_left(4, 80, [10, 30, 80], [12]) == 55 - 12
    assert epochs_left(4, 80, [10, 10, 10], [80]) == 1
