"""TensorBoard as a person sees it: asked over HTTP, and in a real Chromium, while a search runs and after."""

import io
import json
import os
import shutil
import signal
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, children, command_line, wait_for_epochs
from PIL import Image

from resvae_ray.config import Domain, SearchConfig
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.splitting.split import split_features
from resvae_ray.data.synthetic import synthetic_batches
from resvae_ray.search.callbacks.tensorboard import SCALARS
from resvae_ray.search.callbacks.tensorboard_server import tensorboard_server
from resvae_ray.search.tune import tune

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
PROTEINS = 150
BANNER = 70  # pixels of a page, all orange
# Some trials are pruned and some fail; and a choice is a column as well as a range.
CONFIG = replace(
    SMALL,
    space={**SMALL.space, "lr": Domain(choices=(1e-3, 1e-2, 1e30))},
    search=replace(SMALL.search, trials=9, seed=1),
)
ENDLESS = replace(SMALL, training=replace(SMALL.training, epochs=100000), search=SearchConfig(trials=4, grace=100000))


def ask(address, path, body=None):
    """Returns the response of TensorBoard's server."""
    content = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(address + path, content, {"Content-Type": "text/plain"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def session_groups(address):
    """The rows of the HPARAMS table."""
    return ask(
        address,
        "data/plugin/hparams/session_groups",
        {
            "experimentName": "",
            "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
            "colParams": [],
            "startIndex": 0,
            "sliceSize": 100,
        },
    )["sessionGroups"]


def until(condition, seconds=60):
    """The first true value of `condition`; a browser and a server take their time on a busy machine."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.2)
    return found


def ended_groups(address):
    """Those of which TensorBoard has read the end."""
    return [group for group in session_groups(address) if group["sessions"][0]["status"] != "STATUS_UNKNOWN"]


@pytest.fixture(scope="module")
def shown(ray_here, tmp_path_factory):
    """A search, watched by a TensorBoard that was there first: its run, the address, what the projector had before."""
    folder = tmp_path_factory.mktemp("shown")
    with FeaturesWriter(folder / "features.parquet", 10, {"model": "SYNTHETIC"}) as writer:
        for batch in synthetic_batches(PROTEINS, 10):
            writer.write(batch)
    dataset = split_features(folder / "features.parquet", folder / "dataset")
    with tensorboard_server(folder / "run" / "tune") as address:
        before = ask(address, "data/plugin/projector/runs")
        yield tune(dataset.path, folder / "run", CONFIG), address, before


def test_the_table_has_every_trial_with_its_metric_and_its_end(shown):
    run, address, _ = shown
    records = run.records()
    assert {record.state for record in records} == {"complete", "pruned", "failed"}
    groups = until(lambda: len(found := ended_groups(address)) == len(records) and found)
    assert sorted(group["name"] for group in groups) == [f"trial {record.number:04d}" for record in records]
    for group in groups:
        record = records[int(group["name"].split()[1])]
        metrics = {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
        assert group["hparams"]["z_dim"] == record.params["z_dim"]
        assert group["sessions"][0]["status"] == ("STATUS_FAILURE" if record.state == "failed" else "STATUS_SUCCESS")
        if record.epochs:
            assert metrics["loss/best_validation"] == pytest.approx(record.epochs[-1]["best_val_loss"], rel=1e-6)


def test_the_projector_finds_the_latents_though_it_was_open_before_they_were_written(shown):
    run, address, before = shown
    assert before == []
    (found,) = until(lambda: ask(address, "data/plugin/projector/runs"))
    assert found == f"projector_trial_{run.saved_best().number:04d}"
    (embedding,) = ask(address, f"data/plugin/projector/info?run={found}")["embeddings"]
    assert embedding["tensorShape"] == [PROTEINS, run.saved_best().params["z_dim"]]


def test_a_trial_has_one_folder(shown):
    run, _, _ = shown
    folders = [path.name for path in (run.path / "tune").iterdir() if path.is_dir()]
    assert len(folders) == len(run.records()) + 1, "and the projector one"


def test_tensorboard_beside_a_search_ends_with_it(make_dataset, tmp_path, start, write_config):
    address, process = beside(start, make_dataset(100, 8), tmp_path / "run", write_config(ENDLESS))
    wait_for_epochs(tmp_path / "run", 6, process)
    assert address.startswith("http://127.0.0.1:")
    rows = until(
        lambda: len(found := [row for row in session_groups(address) if row.get("metricValues")]) == 2 and found
    )
    assert [row["name"] for row in rows] == ["trial 0000", "trial 0001"]
    # TensorBoard's word for a trial that has not ended.
    assert {row["sessions"][0]["status"] for row in rows} == {"STATUS_UNKNOWN"}
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert_gone(address)


def test_tensorboard_beside_a_search_ends_when_the_search_is_killed(make_dataset, tmp_path, start, write_config):
    address, process = beside(start, make_dataset(100, 8), tmp_path / "run", write_config(ENDLESS))
    servers = [pid for pid in children(process.pid) if "tensorboard" in command_line(pid)]
    assert len(servers) == 2, "TensorBoard and its reader of data"
    process.kill()
    process.wait()
    until(lambda: not any("tensorboard" in command_line(pid) for pid in servers))
    assert_gone(address)


def beside(start, dataset, run, config):
    """A search with a TensorBoard, and the address that it prints."""
    process = start("tune", dataset, run, "--config", config, "--tensorboard")
    for line in process.stderr:
        if line.startswith("TensorBoard: "):
            return line.split()[1], process
    raise AssertionError("no address")


def assert_gone(address):
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=5)


def test_tensorboard_files_of_a_search_stay_small(shown):
    run, _, _ = shown
    events = [path for path in (run.path / "tune").rglob("events.*") if "projector" not in path.parent.name]
    epochs = sum(len(record.epochs) for record in run.records())
    assert 50 * 80 * sum(path.stat().st_size for path in events) / epochs < 5e6


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium that keeps a log of its requests."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    # The projector draws with WebGL, here without a graphics card.
    drawing = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
    root = ("--no-sandbox",) if os.geteuid() == 0 else ()
    size = ("--headless=new", "--disable-dev-shm-usage", "--window-size=1600,1200")
    for argument in (*size, *drawing, *root):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


# TensorBoard's pages are trees of shadow roots and frames.
FIND = """
const found = [];
const walk = (node) => {
    if (node.matches && node.matches(arguments[0])) found.push(node);
    if (node.shadowRoot) walk(node.shadowRoot);
    if (node.contentDocument) walk(node.contentDocument);
    for (const child of node.children || []) walk(child);
};
walk(document);
const visible = found.filter((node) => node.getClientRects().length);
"""


def elements(browser, selector):
    """All visible elements, in whatever shadow they lie."""
    return browser.execute_script(FIND + "return visible;", selector)


def texts(browser, selector):
    """The elements' texts, or their values if they are editable."""
    return browser.execute_script(
        FIND + "return visible.map((node) => (node.value || node.textContent).trim());", selector
    )


def coloured(png, top=0):
    """How many pixels below `top` are neither white, grey nor black: curves and points, not their axes."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)[top:]
    return int((pixels.max(axis=2) - pixels.min(axis=2) > 60).sum())


@pytest.fixture
def page(browser, shown):
    """Opens one of TensorBoard's pages; checks at the end that it made no external request and logged no error."""
    _, address, _ = shown
    opened = []

    def open_page(name):
        opened.append(name)
        browser.get("about:blank")
        for log in ("performance", "browser"):
            browser.get_log(log)
        browser.get(f"{address}#{name}")
        return browser

    yield open_page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(SCREENSHOTS / f"tensorboard-{opened[-1]}.png"))
    assert [url for url in requested(browser) if not url.startswith((address, "data:", "blob:"))] == []
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def requested(browser):
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def test_the_table_in_a_browser(shown, page):
    run, _, _ = shown
    browser = page("hparams")
    until(lambda: len(rows(browser)) == len(run.records()))
    table = {row[0]: row for row in rows(browser)}
    assert sorted(table) == [f"trial {record.number:04d}" for record in run.records()]
    for record in run.records():
        row = table[f"trial {record.number:04d}"]
        assert [float(row[heading(browser, name)]) for name in ("z_dim", "hidden_dim")] == [
            record.params["z_dim"], record.params["hidden_dim"],
        ]  # fmt: skip
        if record.epochs:
            loss = record.epochs[-1]["best_val_loss"]
            assert float(row[heading(browser, "loss/best_validation")]) == pytest.approx(loss, rel=1e-3)


def rows(browser):
    """The table's rows as texts, without its heading."""
    cells = texts(browser, "vaadin-grid-cell-content")
    starts = [position for position, text in enumerate(cells) if text.startswith("trial ")]
    return [cells[start : start + starts[0]] for start in starts]


def heading(browser, name):
    return texts(browser, "vaadin-grid-cell-content").index(name)


def test_the_curves_in_a_browser(shown, page):
    run, _, _ = shown
    browser = page("timeseries")
    assert set(until(lambda: texts(browser, "scalar-card .tag"))) <= set(SCALARS.values())
    until(lambda: coloured(elements(browser, "line-chart")[0].screenshot_as_png) > 100)
    listed = until(lambda: texts(browser, "runs-data-table tb-data-table-content-row"))
    assert len([text for text in listed if "trial_" in text]) >= len(run.records())


def test_the_scalar_page_in_a_browser(page):
    browser = page("scalars")
    until(lambda: len(elements(browser, "vz-line-chart2")) >= 4)
    until(lambda: coloured(elements(browser, "vz-line-chart2")[0].screenshot_as_png) > 100)


def test_the_latents_in_a_browser(shown, page):
    run, _, _ = shown
    browser = page("projector")
    until(lambda: texts(browser, ".numDataPoints") == [str(PROTEINS)])
    assert texts(browser, ".dim") == [str(run.saved_best().params["z_dim"])]
    assert f"latents of trial {run.saved_best().number}" in texts(browser, "input")
    until(lambda: coloured(browser.get_screenshot_as_png(), BANNER) > 1000)
