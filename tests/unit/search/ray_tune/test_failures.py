from types import SimpleNamespace

import pytest
from ray import cloudpickle
from ray.exceptions import ActorDiedError, ActorUnavailableError

from resvae_ray.search.ray_tune.failures import CrashedTooOftenError, Retries, refuse_another


class NodeDied(ActorDiedError):
    def __str__(self):
        return "The actor died unexpectedly before finishing this task.\nThe actor died because its node has died."


@pytest.fixture
def fails(tmp_path):
    """Lets a trial fail once more, as Tune does; returns whether it is retried and the retry accepted."""
    trial = SimpleNamespace(
        trial_id="t",
        config={},
        run_metadata=SimpleNamespace(num_failures=0),
        error_file=str(tmp_path / "error.txt"),
        pickled_error_file=str(tmp_path / "error.pkl"),
    )

    def fail(retries, error, allowed):
        trial.run_metadata.num_failures += 1
        if trial.run_metadata.num_failures > allowed:
            return False
        (tmp_path / "error.pkl").write_bytes(cloudpickle.dumps(error))
        with (tmp_path / "error.txt").open("a") as file:
            file.write(f"Failure # {trial.run_metadata.num_failures}\n{error}\n")
        retries.on_trial_recover(0, [trial], trial)
        try:
            refuse_another(trial.config)
        except CrashedTooOftenError as error:
            return str(error)
        return True

    return fail


def crash(reason="Segmentation fault"):
    return RuntimeError(f"the worker died\n{reason}")


@pytest.mark.parametrize("most", [0, 2])
def test_a_crash_too_many_is_the_last(fails, most):
    retries = Retries(most)
    assert [fails(retries, crash(), most + 1) for _ in range(most)] == [True] * most
    assert fails(retries, crash("out of luck"), most + 1) == "out of luck"
    assert fails(retries, crash(), most + 1) is False


@pytest.mark.parametrize("lost", [NodeDied(), ActorUnavailableError("unavailable", None)])
@pytest.mark.parametrize("most", [0, 2])
def test_the_loss_of_a_node_is_not_a_crash(fails, most, lost):
    retries = Retries(most)
    assert [fails(retries, lost, most + 1) for _ in range(5)] == [True] * 5
    assert [fails(retries, crash(), most + 1) for _ in range(most)] == [True] * most
    assert [fails(retries, lost, most + 1) for _ in range(5)] == [True] * 5
    assert fails(retries, crash("out of luck"), most + 1) == "out of luck"


class NeedsMore(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one}{two}")


def test_an_error_that_cannot_be_read_is_a_crash(fails):
    assert fails(Retries(0), NeedsMore("out of ", "luck"), 1) == "out of luck"


@pytest.mark.parametrize(("last", "left"), [("CrashedTooOftenError: out of luck", 1), ("Segmentation fault", 2)])
def test_the_refusal_is_not_among_the_errors_of_a_trial_that_is_given_up(tmp_path, last, left):
    path = tmp_path / "error.txt"
    path.write_text(f"Failure # 1 (then)\nTraceback\nout of luck\nFailure # 2 (now)\nTraceback\n{last}\n")
    Retries(0).on_trial_error(0, [], SimpleNamespace(config={"crashed": "out of luck"}, error_file=str(path)))
    assert path.read_text().count("Failure #") == left
    assert path.read_text().startswith("Failure # 1 (then)\nTraceback\nout of luck\n")


def test_a_worker_that_died_on_a_node_that_lives_has_crashed(fails):
    assert fails(Retries(0), ActorDiedError(), 1) is not True
