import sys

from resvae_ray.search.callbacks.tensorboard_server import tensorboard_server


def test_a_server_that_does_not_start_does_not_stop_the_search(tmp_path, monkeypatch, capsys):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'a traceback' >&2\necho 'ImportError: no module' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with tensorboard_server(tmp_path) as address:
        assert address is None
    assert capsys.readouterr().err == (
        "TensorBoard did not start, the search continues without it: ImportError: no module\n"
    )
