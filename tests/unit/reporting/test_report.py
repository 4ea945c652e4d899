"""The page holds what the RUN holds, in whatever state that is, and nothing in it can do harm."""

import html
import json
import re
import subprocess
import sys
from dataclasses import replace

import jinja2
import numpy as np
import pyarrow as pa
import pytest
from markupsafe import escape

from resvae_ray.cli import main
from resvae_ray.data.dataset import footers_of
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.schema import FeatureBatch
from resvae_ray.errors import DataError, UsageError
from resvae_ray.evaluation.evaluate import evaluate_model
from resvae_ray.reporting import figures as drawn
from resvae_ray.reporting import page, sections
from resvae_ray.reporting.figures import TITLES, figures
from resvae_ray.reporting.report import report
from resvae_ray.reporting.run_contents import Findings
from resvae_ray.reporting.style import number
from resvae_ray.search.run.run import Run

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No browser, which takes seconds to start (tests/integration has it), and no probes but where they are tested."""

    def left_out(model, dataset):
        raise DataError("left out here")

    monkeypatch.setattr("resvae_ray.reporting.report.write_images", lambda figures, folder: "no browser here")
    monkeypatch.setattr("resvae_ray.reporting.run_contents.evaluate_model", left_out)


def text_of(written):
    """The page without plotly.js."""
    content = written.path.read_text()
    return content[: content.rindex("<noscript>")]


def data_of(content, name):
    (found,) = re.findall(f'<script type="application/json" id="plot-{name}-data">(.*?)</script>', content, re.S)
    return json.loads(found)


def test_the_page_has_all_figures_with_their_data(run_path):
    written = report(run_path)
    content = text_of(written)
    assert written.missing == {}
    assert written.path == run_path / "report" / "report.html"
    for name, figure in figures(run_path).items():
        assert len(data_of(content, name)["data"]) == len(figure.data)
        assert escape(figure.layout.meta["reading"]) in content
    ends = [trace for trace in data_of(content, "learning_curves")["data"] if trace["name"] == "stopped here"]
    assert sorted(ends[0]["x"]) == [1, 1, 1, 1, 1, 3, 3]


def test_the_page_has_counts_best_result_failures_and_fingerprint(run_path):
    run = Run.open(run_path)
    folder = run_path / "trials" / "0011"
    folder.mkdir(parents=True)
    (folder / "error.txt").write_text("Traceback\nthe loss is nan & void\n")
    content = text_of(report(run_path))
    assert "trials: 4 complete · 7 pruned · 1 failed" in content
    assert "<b>40.00</b>" in content
    assert "epochs trained, 52 saved" in content
    assert "22,509.06" in content
    assert "the loss is nan &amp; void" in content
    assert run.info["dataset"]["fingerprint"] in content
    assert "these features are 6 numbers wide" in content


def test_the_page_has_the_evaluation(run_path, monkeypatch):
    monkeypatch.setattr("resvae_ray.reporting.run_contents.evaluate_model", evaluate_model)
    evaluation = evaluate_model(run_path / "model", run_path.parent / "dataset")
    content = text_of(report(run_path))
    for verdict in evaluation.to_dict()["verdicts"]:
        assert escape(verdict) in content
    assert f"{evaluation.reconstruction.pca.r2:.4f}" in content


def test_the_worst_proteins_stand_in_order(run_path):
    validation = figures(run_path).findings.validation
    worst = [validation.ids[row] for row in (-validation.errors).argsort()[:3]]
    content = text_of(report(run_path))
    table = content[content.index("largest reconstruction errors") :]
    assert [table.index(name) for name in worst] == sorted(table.index(name) for name in worst)


def test_nothing_can_be_loaded_or_sent(run_path):
    written = report(run_path)
    content = written.path.read_text()
    assert "Content-Security-Policy\" content=\"default-src 'none';" in content
    assert not re.findall(r'<(?:script|img|iframe)[^>]* src=|<link[^>]* href="(?!data:)', text_of(written))
    assert "showSendToCloud: false" in content


def test_one_training_has_no_figures_that_compare_trials(searched):
    """The default of `run`; a page full of figures that cannot be drawn looks like a failure."""
    path = searched([("complete", [5.0] * 9)], of=1)
    written = report(path)
    content = text_of(written)
    assert list(figures(path))[:2] == ["learning_curves", "timeline"]
    assert not written.missing
    assert "No figure" not in content
    assert 'href="#search"' not in content
    assert "<h2>Training</h2>" in content


@pytest.mark.parametrize(
    ("trials", "shown"),
    [
        ([], set()),
        ([("running", [])], set()),
        ([("running", [5.0])], {"history", "learning_curves", "timeline", "slices"}),
        ([("failed", [])], set()),
        ([("complete", [5.0] * 9)], {"history", "learning_curves", "timeline", "slices"}),
        ([("pruned", [5.0]), ("pruned", [6.0])], {"history", "learning_curves", "timeline", "slices"}),
    ],
)
def test_with_few_trials_the_page_says_what_it_cannot_show(searched, trials, shown):
    path = searched(trials, model=False)
    written = report(path)
    content = text_of(written)
    assert (set(TITLES) - {"finalists", "rate_distortion"}) - set(written.missing) == shown
    for reason in written.missing.values():
        assert escape(reason) in content
    assert "Not evaluated: there is no RUN/model yet" in content


def test_a_missing_data_set_loses_only_its_figures(run_path):
    (run_path.parent / "dataset" / "dataset.json").unlink()
    written = report(run_path)
    assert set(written.missing) == {"latent_map", "latent_dimensions", "errors"}
    assert "not a DATASET: dataset.json is missing" in text_of(written)


def test_a_damaged_model_costs_only_its_figures(run_path):
    (run_path / "model" / "model.safetensors").write_bytes(b"no tensors")
    written = report(run_path)
    assert set(written.missing) == {"latent_map", "latent_dimensions", "errors"}
    assert "not a readable safetensors file" in text_of(written)


def test_a_figure_that_fails_leaves_the_others(run_path, monkeypatch, caplog):
    def broken(findings):
        raise ZeroDivisionError("oh")

    monkeypatch.setitem(sys.modules["resvae_ray.reporting.figures"].DRAWN, "slices", broken)
    written = report(run_path)
    assert written.missing == {"slices": "ZeroDivisionError: oh"}
    assert "the figure slices failed" in caplog.text


def test_names_from_outside_are_shown_and_not_carried_out(run_path):
    """In ids, labels, the configuration's name, a node's name, a reason, the provenance."""
    info = json.loads((run_path / "run.json").read_text())
    info["config"]["name"] = info["dataset"]["provenance"]["model"] = HOSTILE
    (run_path / "run.json").write_text(json.dumps(info))
    lines = (run_path / "epochs.jsonl").read_text().replace("node-a", HOSTILE)
    (run_path / "epochs.jsonl").write_text(lines)
    (run_path / "trials" / "0011").mkdir(parents=True)
    (run_path / "trials" / "0011" / "error.txt").write_text(HOSTILE)
    for side in ("train", "val"):
        _rename(run_path.parent / "dataset" / side)
    about = run_path.parent / "dataset" / "dataset.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"footers": footers_of(about.parent)}))
    content = report(run_path).path.read_text()
    assert HOSTILE not in content
    assert content.count("<script") == content.count("</script>")
    assert not re.search("<img", content[: content.index("<script>")])
    assert content.count(html.escape(HOSTILE)) >= 4
    drawn = data_of(content[: content.rindex("<noscript>")], "latent_map")["data"]
    assert drawn[0]["name"].startswith(html.escape(HOSTILE)[:20])
    assert all(html.escape(HOSTILE) in text for trace in drawn for text in trace["text"])


def _rename(folder):
    """Gives all proteins hostile ids and labels, with the same features."""
    (path,) = folder.glob("*.parquet")
    from resvae_ray.data.features import Features

    (batch,) = Features.open(path).batches()
    ids = pa.array([f"{HOSTILE}{number}" for number in range(len(batch))])
    labels = pa.table({"label": pa.array([HOSTILE] * len(batch))})
    path.unlink()
    with FeaturesWriter(path, batch.features.shape[1], {}) as writer:
        writer.write(FeatureBatch(ids, batch.features, labels))


def test_a_report_replaces_the_one_in_the_run(run_path):
    (run_path / "report").mkdir()
    (run_path / "report" / "old.png").touch()
    report(run_path)
    assert [path.name for path in (run_path / "report").iterdir()] == ["report.html"]


def test_another_folder_is_not_overwritten(run_path, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.doc").touch()
    with pytest.raises(UsageError, match="already there"):
        report(run_path, tmp_path / "mine")
    assert report(run_path, tmp_path / "new").path == tmp_path / "new" / "report.html"
    assert not (run_path / "report").exists()


def test_no_run(tmp_path):
    with pytest.raises(DataError, match="not a RUN"):
        report(tmp_path)


def test_the_command_line(run_path, capsys):
    assert main(["report", str(run_path)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{run_path / 'report' / 'report.html'}\n"
    assert "resvae-ray: no browser here" in err
    assert main(["report", str(run_path.parent)]) == 3


def test_without_plotly_one_line_says_what_to_install(run_path):
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'plotly': raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import importlib.util; importlib.util.find_spec = lambda name: None\n"
        f"from resvae_ray.cli import main; sys.exit(main(['report', {str(run_path)!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("resvae-ray: plotly is not installed; get it in the checkout with: pip install ")
    assert done.stderr.endswith('".[insight]"\n')


def test_without_kaleido_a_line_says_how_to_get_images(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kaleido", None)
    reason = str(drawn.write_images({}, tmp_path / "figures"))
    assert "kaleido is not installed" in reason
    assert "apt install chromium" in reason
    assert not (tmp_path / "figures").exists()


def test_without_a_browser_a_line_says_how_to_get_images(run_path, tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no-such-browser"))
    reason = str(drawn.write_images({"history": figures(run_path)["history"]}, tmp_path / "figures"))
    assert "no browser was found" in reason
    assert "apt install chromium" in reason


def change(run_path, section, **changes):
    info = json.loads((run_path / "run.json").read_text())
    (info[section] if section == "dataset" else info["config"][section]).update(changes)
    (run_path / "run.json").write_text(json.dumps(info))
    return sections.comparable(Findings(Run.open(run_path)))


def test_what_may_be_compared_with_the_paper(run_path):
    assert change(run_path, "dataset", dim=320).startswith("Other data: these features are 320 numbers wide")
    assert change(run_path, "dataset", dim=1280).startswith("Other data: 60 proteins here, 5,549 in the paper")
    assert change(run_path, "dataset", train_rows=4439, val_rows=1110).startswith("Width and number of proteins are")
    assert change(run_path, "training", beta=500.0).startswith("The losses cannot be compared: this search measures")


def test_text_in_json_cannot_end_a_script():
    template = page.environment().from_string("{{ content | tojson }}")
    text = template.render(content={"a": "</script><!-- & \u2028"})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"a": "</script><!-- & \u2028"}


def explaining(findings, train, val):
    """Findings whose model explains these shares of the variance of the two sides."""
    for side, r2 in (("training", train), ("validation", val)):
        found = getattr(findings, side)
        errors = np.full(len(found), (1 - r2) * found.spreads.mean())
        findings.__dict__[side] = replace(found, errors=errors)
    return findings


def test_a_large_gap_between_training_and_validation_comes_with_advice(run_path):
    findings = explaining(Findings(Run.open(run_path)), 0.98, 0.83)
    found = sections.overfitting(findings)
    assert found
    assert (found.train, found.val) == pytest.approx((0.98, 0.83))
    content = page.render_page(
        sections.page_values(findings), {name: page.PageFigure(name, missing="-") for name in TITLES}
    )
    assert "explains 98.0% of the variance of the training" in content
    assert "only 83.0% of the validation proteins" in content
    assert "weight_decay" in content[content.index("83.0%") :]


@pytest.mark.parametrize(("train", "val"), [(0.94, 0.90), (0.80, 0.90)])
def test_a_small_gap_needs_no_advice(run_path, train, val):
    assert sections.overfitting(explaining(Findings(Run.open(run_path)), train, val)) is None


def test_without_a_data_set_nothing_is_known_of_a_gap(run_path):
    (run_path.parent / "dataset" / "dataset.json").unlink()
    assert sections.overfitting(Findings(Run.open(run_path))) is None


def test_a_word_of_the_template_that_has_no_value_is_an_error(run_path):
    values = sections.page_values(Findings(Run.open(run_path)))
    del values["comparable"]
    with pytest.raises(jinja2.UndefinedError, match="'comparable' is undefined"):
        page.render_page(values, {name: page.PageFigure(name, missing="none") for name in TITLES})


def test_backticks_in_a_note_are_code_and_the_rest_is_escaped():
    template = page.environment().from_string('{% import "parts.html" as parts %}{{ parts.prose(text) }}')
    assert template.render(text="a <b> `c & d` e").strip() == "<p>a &lt;b&gt; <code>c &amp; d</code> e</p>"


def test_numbers_for_people():
    assert [number(value) for value in (4064123, 0.000469, 25.0, 1234.5, True, "x", 0.5)] == [
        "4,064,123", "0.000469", "25", "1,234.50", "True", "x", "0.5",
    ]  # fmt: skip
