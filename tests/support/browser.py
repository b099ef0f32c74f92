"""Headless Chromium, and all that happens in it while a page is open."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Keys reach the page only where a window is large enough for it.
    "--window-size=1440,900",
)


class NoBrowserError(Exception):
    """Chromium or its driver is not on this machine."""


class Browser:
    """A browser that remembers what a page did.

    Attributes:
        driver: Selenium's, for all else.
    """

    def __init__(self, driver: Any) -> None:
        """Takes a driver that logs all there is."""
        self.driver = driver

    def open(
        self,
        page: Path,
        *,
        width: int = 1440,
        theme: str = "light",
        media: str = "screen",
    ) -> None:
        """Opens a page from disk, in a window and a theme; forgets what was before."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1}
        self._tell("Emulation.setDeviceMetricsOverride", **size, mobile=width < 500)
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self._tell("Emulation.setEmulatedMedia", media=media, features=features)
        self.driver.get("about:blank")
        for kind in ("performance", "browser"):
            self.driver.get_log(kind)
        self.driver.get(page.as_uri())

    @contextmanager
    def without_scripts(self) -> Iterator[None]:
        """Runs none of a page's scripts meanwhile."""
        self._tell("Emulation.setScriptExecutionDisabled", value=True)
        try:
            yield
        finally:
            self._tell("Emulation.setScriptExecutionDisabled", value=False)

    def run(self, script: str, *arguments: Any) -> Any:
        """Runs a script of ours in the page; returns what it returns."""
        return self.driver.execute_script(script, *arguments)

    def events(self) -> "Events":
        """Returns what has happened since the page was opened."""
        messages = [
            json.loads(entry["message"])["message"]
            for entry in self.driver.get_log("performance")
        ]
        console = [entry["message"] for entry in self.driver.get_log("browser")]
        return Events(messages, console)

    def _tell(self, command: str, **arguments: Any) -> None:
        self.driver.execute_cdp_cmd(command, arguments)


class Events:
    """What a page did.

    Attributes:
        console: What was logged: errors, refusals of its policy, messages.
        dialogs: Of alert, confirm, prompt.
        requests: Addresses, but for `data:`.
    """

    def __init__(self, messages: list[dict[str, Any]], console: list[str]) -> None:
        """Takes what the browser's protocol said, and its console."""
        self.console = console
        self.dialogs = [
            message["params"]["message"]
            for message in messages
            if message["method"] == "Page.javascriptDialogOpening"
        ]
        urls = [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]
        self.requests = [url for url in urls if not url.startswith("data:")]


@contextmanager
def browser() -> Iterator[Browser]:
    """Starts Chromium, and stops it.

    Raises:
        NoBrowserError: It is not here; says how to get it.
    """
    paths = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in paths:
        raise NoBrowserError(
            "chromium and chromedriver must be on PATH: "
            "apt-get install chromium chromium-driver"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    options.unhandled_prompt_behavior = "dismiss"
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        service = Service(paths[1], env=os.environ | {"HOME": profile})
        driver = webdriver.Chrome(options=options, service=service)
        try:
            yield Browser(driver)
        finally:
            driver.quit()
