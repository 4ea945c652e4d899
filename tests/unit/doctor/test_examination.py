"""A machine's report on itself."""

import time
from pathlib import Path

import pytest
import torch

from resvae_ray.doctor import examination
from resvae_ray.doctor.examination import Examiner


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder that other users can enter, with a token that only its owner can read."""
    token = tmp_path / examination.TOKEN_FILE
    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(Path, "parents", property(lambda _: [tmp_path, token.parent]))
    tmp_path.chmod(0o755)
    return tmp_path


def test_a_user_without_a_home(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert Examiner("me", "").examine().token_readable == ""


def test_versions_and_gpus(home):
    said = Examiner("me", "").examine()
    assert said.versions["torch"] == torch.__version__
    assert set(said.versions) == {"python", "resvae_ray", *examination.PACKAGES}
    assert said.torch_gpus == torch.cuda.device_count()
    assert said.write_error == ""


@pytest.mark.parametrize(("mode", "asked"), [("token", True), ("TOKEN", True), ("disabled", False), ("", False)])
def test_whether_a_token_is_asked_for(home, monkeypatch, mode, asked):
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    assert Examiner("me", "").examine().token_asked is asked


@pytest.mark.parametrize(
    ("folder", "file", "told"),
    [(0o755, 0o600, False), (0o755, 0o644, True), (0o755, 0o640, True), (0o700, 0o644, False)],
)
def test_a_token_that_others_can_read(home, folder, file, told):
    home.chmod(folder)
    (home / examination.TOKEN_FILE).chmod(file)
    assert bool(Examiner("me", "").examine().token_readable) is told


def test_each_sees_what_the_others_have_written(home, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    examiners = [Examiner(name, str(shared)) for name in ("a", "b")]
    assert [it.examine().write_error for it in examiners] == ["", ""]
    assert [it.seen() for it in examiners] == [["a", "b"], ["a", "b"]]


def test_missing_folder(home, tmp_path):
    examiner = Examiner("a", str(tmp_path / "absent"))
    assert "No such file or directory" in examiner.examine().write_error
    assert examiner.seen() == []


def test_the_clock():
    assert abs(Examiner("a", "").clock() - time.time()) < 1
