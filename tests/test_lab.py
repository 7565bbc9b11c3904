"""What a person sees in JupyterLab: a notebook run in a real browser, on data with awkward names."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
if not (shutil.which("chromium") and shutil.which("chromedriver")):
    pytest.skip("no Chromium with its driver on this machine", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[1]
AWKWARD = "=1+1 <b>$5</b> to $9 *now*"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab server on a copy of the notebooks and of samples in which one campaign has an awkward name."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "notebooks").mkdir()
    shutil.copytree(ROOT / "data_samples", folder / "data_samples")
    campaigns = folder / "data_samples" / "campaigns.csv"
    text = campaigns.read_text(encoding="utf-8")
    assert "Generic | Broad" in text
    campaigns.write_text(text.replace("Generic | Broad", AWKWARD), encoding="utf-8")
    notebook = json.loads((ROOT / "notebooks" / "kpi_tree.ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = []
    (folder / "notebooks" / "kpi_tree.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    settings = folder / "settings" / "@jupyterlab"
    wanted = {
        "notebook-extension/tracker": {"windowingMode": "none"},
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    }
    for name, values in wanted.items():
        path = settings / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    home = {name: str(folder / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    options = [
        f"--ServerApp.root_dir={folder}",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        "--ServerApp.allow_root=True",
        "--LabApp.expose_app_in_browser=True",
        "--no-browser",
    ]
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options],
        env={**os.environ, **home, "JUPYTERLAB_SETTINGS_DIR": str(settings.parent)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(f"{address}/api"), 60, "the server")
        yield address
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking", "window-size=1300,2400"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


def answers(address):
    try:
        return urllib.request.urlopen(address, timeout=2).status == 200
    except OSError:
        return False


def until(condition, seconds, what):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.5)
    pytest.fail(f"waited {seconds} s for {what}")


def test_a_notebook_runs_and_shows_tables_charts_and_names_as_text(lab, browser):
    browser.get(f"{lab}/lab/tree/notebooks/kpi_tree.ipynb?reset")
    ready = "return !!(window.jupyterapp && document.querySelector('.jp-Notebook .jp-CodeCell'))"
    until(lambda: browser.execute_script(ready), 90, "the notebook")
    kernel = "return window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
    until(lambda: browser.execute_script(kernel), 60, "the kernel")
    browser.execute_script("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    last = """
      const cells = [...document.querySelectorAll('.jp-Notebook .jp-CodeCell')];
      return cells.length > 5 && !!cells.at(-1).querySelector('.jp-OutputArea-output table.perfnb');
    """
    until(lambda: browser.execute_script(last), 90, "the last cell's table")
    errors = (
        "return [...document.querySelectorAll('.jp-OutputArea-output[data-mime-type*=error]')].map(e => e.innerText)"
    )
    assert browser.execute_script(errors) == []
    assert browser.execute_script("return document.querySelectorAll('.jp-OutputArea-output img').length") == 5
    shown = "return [...document.querySelectorAll('table.perfnb td')].map(cell => cell.innerText)"
    assert AWKWARD in browser.execute_script(shown)
    maths = "return document.querySelectorAll('.jp-OutputArea mjx-container, .jp-OutputArea .MathJax').length"
    assert browser.execute_script(maths) == 0
    left = "return getComputedStyle(document.querySelector('table.perfnb td.text')).textAlign"
    assert browser.execute_script(left) == "left"
    if folder := os.environ.get("PERFNB_SCREENSHOTS"):
        browser.save_screenshot(str(Path(folder) / "lab.png"))
