"""The browser of all tests that need one: Debian's Chromium, without a window, with a fresh profile, driven by Selenium."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

selenium = pytest.importorskip("selenium", reason="the browser tests need selenium")
from selenium import webdriver  # noqa: E402, only after the check above
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

__all__ = ["By", "Keys", "Select", "WebDriverWait", "needs_chromium", "start_chromium"]

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
OPTIONS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

needs_chromium = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (BROWSER and DRIVER), reason="chromium or chromedriver is missing: apt-get install chromium chromium-driver"
    ),
]


def start_chromium(profile: Path) -> Any:
    """A browser with its profile in a folder; the caller quits it."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for option in (*OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(str(DRIVER)))
