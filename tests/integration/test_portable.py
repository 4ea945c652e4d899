"""model.onnx and model.pt2 give the model's latents, or nothing is written."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from resvae_ray.cli import main
from resvae_ray.data.stream import ResidentRows
from resvae_ray.model import portable
from resvae_ray.model.network import ResVAE
from resvae_ray.model.principal import principal_components, start_as_pca
from resvae_ray.search.export import export


@pytest.fixture
def published(tmp_path):
    """Weights of a model that has seen some batches, so that its batch norms are not the identity."""
    torch.manual_seed(0)
    model = ResVAE(20, 16, 3).train()
    for _ in range(3):
        model(torch.randn(8, 20) * 4 + 2)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    return model.eval(), tmp_path / "w.pt"


def test_both_files_give_the_posterior_mean_for_any_batch(published, tmp_path):
    model, weights = published
    export(weights, tmp_path / "model", onnx=True, torch_export=True)
    folder = tmp_path / "model"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.onnx",
        "model.pt2",
        "model.safetensors",
    ]
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    extra = {"resvae_ray.json": ""}
    program = torch.export.load(folder / "model.pt2", extra_files=extra).module()
    for rows in (1, 2, 3, 7, 64, 1000):
        x = torch.randn(rows, 20)
        with torch.no_grad():
            expected = model.encode(x)[0].numpy()
            np.testing.assert_allclose(program(x).numpy(), expected, atol=1e-5)
        np.testing.assert_allclose(np.asarray(session.run(["z"], {"features": x.numpy()})[0]), expected, atol=1e-5)
    (given,), (found,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape) == ("features", ["batch", 20])
    assert (found.name, found.shape) == ("z", ["batch", 3])
    assert json.loads(extra["resvae_ray.json"]) == session.get_modelmeta().custom_metadata_map
    assert "`model.onnx` and `model.pt2`." in (folder / "README.md").read_text()
    assert ResVAE.from_pretrained(folder).z_dim == 3


@pytest.mark.parametrize("conditioned", [False, True])
def test_a_linear_path_is_in_both_files(tmp_path, conditioned):
    torch.manual_seed(0)
    model = ResVAE(20, 16, 3, linear="pca", nested=True, conditioned=conditioned).eval()
    x = torch.randn(50, 20) * 4 + 2
    start_as_pca(model, principal_components(ResidentRows(x)))
    model.fc21.weight.data.normal_()
    portable.write_onnx(model, {}, tmp_path)
    portable.write_torch_export(model, {}, tmp_path)
    with torch.no_grad():
        expected = model.encode(x)[0].numpy()
        np.testing.assert_allclose(torch.export.load(tmp_path / "model.pt2").module()(x).numpy(), expected, atol=1e-4)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(np.asarray(session.run(["z"], {"features": x.numpy()})[0]), expected, atol=1e-4)
    names = {weights.name for weights in onnx.load(tmp_path / "model.onnx").graph.initializer}
    assert not any(any(part in name for part in ("path_out", "fc3", "film")) for name in names), "the decoder stays out"


def test_the_file_describes_its_input_and_leaks_nothing_about_this_machine(tmp_path):
    about = {"features": {"model": "esm2", "pooling": "cls\n<b>"}, "resvae_ray_version": "1"}
    portable.write_onnx(ResVAE(6, 8, 2), about, tmp_path)
    portable.write_torch_export(ResVAE(6, 8, 2), about, tmp_path)
    proto = onnx.load(tmp_path / "model.onnx")
    found = {entry.key: entry.value for entry in proto.metadata_props}
    assert (found["dim"], found["z_dim"], found["resvae_ray_version"]) == ("6", "2", "1")
    assert json.loads(found["features"]) == about["features"]
    here = str(portable.__file__).encode().rpartition(b"/resvae_ray/")[0]
    for name in ("model.onnx", "model.pt2"):
        assert here not in (tmp_path / name).read_bytes()
    # The decoder stays behind.
    assert sum(np.prod(weights.dims) for weights in proto.graph.initializer) < ResVAE(6, 8, 2).parameter_count()


@pytest.mark.parametrize(("flag", "attribute"), [("--onnx", "_onnx_run"), ("--torch-export", None)])
def test_a_file_that_differs_is_not_kept(flag, attribute, published, tmp_path, monkeypatch, capsys):
    if attribute:
        monkeypatch.setattr(portable, attribute, lambda path: lambda x: published[0].encode(x)[0].detach() + 1e-3)
    else:
        monkeypatch.setattr(torch.export, "load", lambda path: torch.nn.Linear(20, 3).requires_grad_(False).eval())
        monkeypatch.setattr(torch.nn.Linear, "module", lambda self: self, raising=False)
    assert main(["export", str(published[1]), str(tmp_path / "out"), flag]) == 1
    out, err = capsys.readouterr()
    assert "differs from the model by" in err
    assert (err.count("\n"), out) == (1, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.pt"]


def test_latents_of_another_shape_or_none_differ(published):
    for wrong in (lambda x: torch.zeros(1, 3), lambda x: torch.full((len(x), 3), float("nan"))):
        with pytest.raises(Exception, match="differs from the model"):
            portable._compare(published[0], wrong, portable.Path("model.onnx"))


def test_without_the_packages_it_says_how_to_get_them(published, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("resvae_ray.extras.find_spec", lambda name: None if name == "onnxruntime" else name)
    assert main(["export", str(published[1]), str(tmp_path / "out"), "--onnx"]) == 2
    told = (
        'onnxruntime is not installed; get it in the checkout with: pip install --constraint constraints.txt ".[onnx]"'
    )
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["export", str(published[1]), str(tmp_path / "out"), "--torch-export"]) == 0, "that needs torch alone"
