"""The page in headless Chromium, driven through chromedriver (W3C WebDriver over HTTP, so that no package is needed).

Skipped where the two are not installed: `apt-get install chromium chromium-driver`.
"""

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.request

import cv2
import numpy as np
import pytest

from fgait_jax.evaluation.report import page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = ("headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking",
         "disable-component-update", "disable-sync", "disable-dev-shm-usage", "hide-scrollbars", "window-size=1280,900")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed")


class Browser:
  """One session of one browser."""

  def __init__(self, address: str, profile):
    self.address = address
    options = {"binary": CHROMIUM, "args": [*FLAGS, f"user-data-dir={profile}"]}
    wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
    self.session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

  def _ask(self, method: str, path: str, body=None):
    request = urllib.request.Request(self.address + path, method=method,
                                     data=None if body is None else json.dumps(body).encode())
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as answer:
      return json.load(answer)["value"]

  def open(self, path) -> None:
    self._ask("POST", f"/session/{self.session}/url", {"url": path.as_uri()})

  def run(self, script: str):
    return self._ask("POST", f"/session/{self.session}/execute/sync", {"script": script, "args": []})

  def width(self, pixels: int) -> None:
    self._ask("POST", f"/session/{self.session}/goog/cdp/execute", {
      "cmd": "Emulation.setDeviceMetricsOverride",
      "params": {"width": pixels, "height": 900, "deviceScaleFactor": 1, "mobile": False}})

  def screenshot(self) -> np.ndarray:
    png = base64.b64decode(self._ask("GET", f"/session/{self.session}/screenshot"))
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)

  def log(self) -> list[dict]:
    return self._ask("POST", f"/session/{self.session}/se/log", {"type": "browser"})

  def close(self) -> None:
    self._ask("DELETE", f"/session/{self.session}")


@pytest.fixture
def browser(tmp_path):
  driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
  try:
    port = next(found[1] for line in driver.stdout if (found := re.search(r"started successfully on port (\d+)", line)))
    opened = Browser(f"http://127.0.0.1:{port}", tmp_path / "profile")
    yield opened
    opened.close()
  finally:
    driver.terminate()
    driver.wait(timeout=30)


def column(browser, number: int) -> list[str]:
  """Cells of the first section of the zero-shot table."""
  return browser.run("return [...document.querySelector('.sections:has(.chance)').tBodies[0].rows].slice(1)"
                     f".map(row => row.cells[{number}].textContent)")


def test_the_page_opens_sorts_plays_and_fits(browser, results_folder, tmp_path):
  out = tmp_path / "report.html"
  page.write([str(results_folder)], out)
  browser.open(out)
  assert "transformer tiny" in browser.run("return document.title")

  # A click on a header sorts downward by number, a second upward.
  click = "document.querySelector('.sections:has(.chance)').tHead.rows[0].cells[1].firstElementChild.click()"
  assert column(browser, 1) == ["62.5", "75.0", "2.5"]
  browser.run(click)
  assert column(browser, 1) == ["75.0", "62.5", "2.5"]
  assert column(browser, 0) == ["raw GEI", "transformer tiny, 400 steps", "chance"]
  browser.run(click)
  assert column(browser, 1) == ["2.5", "62.5", "75.0"]
  browser.run(click.replace("cells[1]", "cells[3]"))
  assert column(browser, 3) == ["37.5", "31.2", "–"]  # what is missing comes last
  states = "return [...document.querySelectorAll('.sections th[aria-sort]')].map(h => h.ariaSort)"
  assert browser.run(states).count("descending") == 1

  # Walks stand still until played, move while played, and stand still again.
  place = "return getComputedStyle(document.querySelector('.walk img')).objectPosition"
  assert browser.run(place) == "0px 0px"
  browser.run("document.querySelector('.play').click()")
  seen = set()
  until = time.monotonic() + 20
  while len(seen) < 3 and time.monotonic() < until:
    seen.add(browser.run(place))
    time.sleep(0.05)
  assert len(seen) >= 3
  browser.run("document.querySelector('.play').click()")
  assert browser.run("return document.querySelector('.play').textContent") == "Play"
  time.sleep(0.5)  # what was on its way when it was clicked
  still = browser.run(place)
  time.sleep(0.3)
  assert browser.run(place) == still

  # Nothing is wider than the window, wide or narrow; every picture was decoded.
  for width in (1280, 400):
    browser.width(width)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    image = browser.screenshot()
    assert image.shape[1] == width
    assert image.std() > 5  # not an empty page
  assert browser.run("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
  assert [line for line in browser.log() if line["level"] in ("SEVERE", "WARNING")] == []
