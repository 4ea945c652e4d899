"""The report in a real browser: it draws all figures, without network requests or console errors."""

import json
import shutil
import time

import pytest
from conftest import finish

from resvae_ray.reporting.figures import TITLES

FIGURES = set(TITLES) - {"finalists", "rate_distortion"}  # not asked for, and without weights

TRIALS = [("complete", [9.0 - number, 5.0, 3.0, 2.5, 2.4, 2.3, 2.2, 2.1, 2.0 + number]) for number in range(3)]
TRIALS += [("pruned", [20.0 + number]) for number in range(8)] + [("failed", [8.0])]
HOSTILE = "</script><img src=x onerror=alert(1)>"
SIZES = {1280: 900, 390: 844}  # px: a desk, a phone


@pytest.fixture
def browser():
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromium-driver (Debian: apt install chromium chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    window = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield window
    window.quit()


def requests(browser):
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def drawn(browser):
    return browser.execute_script("return document.querySelectorAll('.plot .main-svg:first-child').length")


def loss_ticks(browser):
    """The labels of the logarithmic axes of losses."""
    script = "return Array.from(document.querySelectorAll('#plot-' + arguments[0] + ' .ytick')).map(t => t.textContent)"
    return {name: browser.execute_script(script, name) for name in ("history", "slices", "learning_curves")}


def slice_ticks(browser):
    """The number of labels below each slice."""
    script = "return ['xtick', 'x2tick'].map(name => document.querySelectorAll('#plot-slices .' + name).length)"
    return browser.execute_script(script)


def shown(browser, page, width, height):
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get(page)
    for _ in range(100):
        if drawn(browser) == len(FIGURES):
            return
        time.sleep(0.1)
    raise AssertionError(f"{drawn(browser)} of {len(FIGURES)} figures are drawn")


def test_the_report_as_its_reader_gets_it(searched, start, browser):
    """Written by the command line, with UMAP, on a node with a hostile name; then opened on a desk and on a phone."""
    run = searched(TRIALS)
    lines = (run / "epochs.jsonl").read_text().replace("node-a", HOSTILE)
    (run / "epochs.jsonl").write_text(lines)
    out, err = finish(start("report", run))
    page = run / "report" / "report.html"
    assert (out.strip(), "resvae-ray:" in err) == (str(page), False)
    for width, height in SIZES.items():
        shown(browser, page.as_uri(), width, height)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert browser.get_log("browser") == []
        assert all(len(labels) >= 3 for labels in loss_ticks(browser).values())
        assert all(labels >= 2 for labels in slice_ticks(browser))
        assert {url for url in requests(browser) if not url.startswith(("data:", "blob:"))} == {page.as_uri()}
    buttons = browser.execute_script(
        "return Array.from(document.querySelectorAll('.modebar-btn')).map(button => button.dataset.title)"
    )
    assert not [title for title in buttons if "hare" in title or "loud" in title]
    assert browser.execute_script("return document.querySelectorAll('img, .plot a').length") == 0
    assert HOSTILE in browser.execute_script("return document.getElementById('plot-timeline').textContent")
    assert "UMAP, 15 neighbours, min_dist 0.5, random_state 0" in page.read_text()
    images = {path.name: path.read_bytes()[:4] for path in (page.parent / "figures").iterdir()}
    wanted = {"png": b"\x89PNG", "svg": b"<svg"}
    assert images == {f"{name}.{kind}": start for name in FIGURES for kind, start in wanted.items()}
