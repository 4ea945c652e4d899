"""The doctor's diagnosis of the machines' reports."""

from dataclasses import replace

import pytest

from resvae_ray.doctor.diagnosis import CLOCK_LIMIT_S, ExaminedNode, judge
from resvae_ray.doctor.examination import PACKAGES, Examination

VERSIONS = {"python": "3.11.4", "resvae_ray": "0.1.0"} | dict.fromkeys(PACKAGES, "2.0.1")


def machine(name, resources=None, ahead_s=0.1, sees=("head", "worker"), **said):
    versions = VERSIONS | said.pop("versions", {})
    examination = Examination(name, versions, **{"torch_gpus": 0, "token_asked": True} | said)
    return ExaminedNode(name, resources or {"CPU": 4.0}, examination, ahead_s, sees)


HEAD = machine("head", {"CPU": 0.0})


def findings(*nodes, silent=None, storage="/shared"):
    return {finding.about: finding for finding in judge(nodes, silent or {}, storage)}


def test_all_is_well():
    found = findings(HEAD, machine("worker", {"CPU": 4.0, "GPU": 1.0}, torch_gpus=1))
    assert [(it.about, it.text) for it in found.values()] == [
        ("ray", "2 machines with 4 CPUs and 1 GPUs"),
        ("versions", "python 3.11.4, ray 2.0.1, torch 2.0.1, resvae_ray 0.1.0"),
        ("GPUs", "1, seen by Ray and by torch"),
        ("storage", "/shared is written and read by 2 machines"),
        ("clocks", "within 0.10 s"),
        ("token", "asked for by 2 machines"),
    ]
    assert all(it.ok and not it.cure for it in found.values())


PROBLEMS = [
    (machine("worker", versions={"optuna": "1.9"}), "versions", "optuna is 1.9 on worker and 2.0.1 on head"),
    (machine("worker", versions={"python": "3.12.1"}), "versions", "python is 3.12.1 on worker and 3.11.4 on head"),
    (machine("worker", versions={"torch": "missing"}), "versions", "torch is missing on worker"),
    (machine("worker", {"CPU": 4.0, "GPU": 2.0}, torch_gpus=1), "GPUs", "Ray has 2 on worker, torch 2.0.1 sees 1"),
    (machine("worker", torch_gpus=1), "GPUs", "Ray has 0 on worker, torch 2.0.1 sees 1"),
    (machine("worker", write_error="denied"), "storage", "worker cannot write to /shared: denied"),
    (machine("worker", sees=("worker",)), "storage", "worker does not see in /shared what head has written"),
    (machine("worker", ahead_s=CLOCK_LIMIT_S + 1), "clocks", "worker is 3.0 s ahead"),
    (machine("worker", ahead_s=-60.0), "clocks", "worker is 60.0 s behind"),
    (machine("worker", token_asked=False), "token", "worker takes work from anyone"),
    (
        machine("worker", token_readable="/home/u/.ray/auth_token"),
        "token",
        "others can read /home/u/.ray/auth_token on",
    ),
]


@pytest.mark.parametrize(("worker", "about", "text"), PROBLEMS, ids=[text for _, _, text in PROBLEMS])
def test_a_problem_names_the_machine_and_comes_with_its_cure(worker, about, text):
    found = findings(HEAD, worker)
    assert [name for name, finding in found.items() if finding.ok is False] == [about]
    assert text in found[about].text
    assert found[about].cure


def test_files_that_the_head_cannot_see_are_reported_too():
    found = findings(replace(HEAD, sees=("head",)), machine("worker"))
    assert found["storage"].text == "head does not see in /shared what worker has written"


def test_builds_of_torch_for_different_hardware_are_one_version():
    built = [
        machine(name, versions={"torch": f"2.13.0+{kind}"}) for name, kind in (("head", "cpu"), ("worker", "cu130"))
    ]
    assert findings(*built)["versions"].ok


def test_gpus_of_a_head_that_runs_no_jobs_are_accepted():
    assert findings(machine("head", {"CPU": 0.0}, torch_gpus=1), machine("worker"))["GPUs"].ok


def test_storage_that_was_not_tried_is_neither_fine_nor_a_problem():
    found = findings(HEAD, machine("worker", sees=()), storage="")["storage"]
    assert (found.ok, found.text) == (None, "not looked at")
    assert "--storage" in found.cure


def test_a_machine_that_does_not_answer_is_named():
    found = findings(HEAD, silent={"worker": "No module named 'resvae_ray'"})["ray"]
    assert (found.ok, found.text) == (False, "worker: No module named 'resvae_ray'")
    assert found.record() == {"about": "ray", "ok": False, "text": found.text, "cure": found.cure}
