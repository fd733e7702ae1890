"""Use JupyterLab in a real browser, as a person does: open a URL, create a notebook, run a cell, save.

A script, so that it can run in the network of an engine: `browser.py URL NAME CODE PICTURE` prints what the cell shows.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from selenium.common.exceptions import TimeoutException
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

_DEADLINE = 60
_ATTEMPTS = 4
_CELL = ".jp-Notebook .jp-Cell .cm-content"
# No background requests; Chromium cannot sandbox root, who runs the tests.
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1280,720", "--no-proxy-server"),
)


@contextmanager
def running() -> Iterator[Chrome]:
    """Start Chromium without a window, with a profile of its own."""
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    with tempfile.TemporaryDirectory() as profile:
        for option in (*_OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        driver = Chrome(options, Service("/usr/bin/chromedriver"))
        try:
            yield driver
        finally:
            driver.quit()


def main(url: str, name: str, code: str, picture: str) -> None:
    """Open `url`, create the notebook `name`, run `code`, save, take a screenshot, and print the output of the cell."""
    with running() as driver:
        try:
            print(_work(driver, url, name, code))
            driver.save_screenshot(picture)
        except BaseException:
            driver.save_screenshot(f"{picture}.failed.png")
            raise


def _work(driver: Chrome, url: str, name: str, code: str) -> str:
    driver.get(url)
    _find(driver, '.jp-LauncherCard[data-category="Notebook"]').click()
    # The first cell accepts text when the kernel is ready.
    _find(driver, '.jp-NotebookPanel .jp-Toolbar [data-status="idle"]')
    _find(driver, _CELL).click()
    ActionChains(driver).send_keys(code).perform()
    _run(driver)
    shown = _find(driver, ".jp-OutputArea-output pre").text
    _save(driver)
    # On the first save, JupyterLab saves the notebook and then asks for a name.
    field = _find(driver, ".jp-Dialog input")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(name)
    _find(driver, ".jp-Dialog .jp-mod-accept").click()
    _find(driver, f'.jp-DirListing-item[title*="{name}"]')
    _save(driver)
    return str(shown)


def _run(driver: Chrome) -> None:
    """Run the first cell and wait for its result; run it again if nothing happens, because JupyterLab can lose the key."""

    def prompt(_: Chrome) -> str:
        return _find(driver, ".jp-Notebook .jp-Cell .jp-InputPrompt").text

    for _ in range(_ATTEMPTS):
        _find(driver, _CELL).click()
        ActionChains(driver).key_down(Keys.SHIFT).send_keys(Keys.ENTER).key_up(Keys.SHIFT).perform()
        with suppress(TimeoutException):
            WebDriverWait(driver, _DEADLINE / _ATTEMPTS).until(lambda it: prompt(it) != "[ ]:")
            break
    # The prompt shows [*] while the cell runs, then a number.
    WebDriverWait(driver, _DEADLINE).until(lambda it: re.fullmatch(r"\[\d+\]:", prompt(it)))


def _save(driver: Chrome) -> None:
    ActionChains(driver).key_down(Keys.CONTROL).send_keys("s").key_up(Keys.CONTROL).perform()


def _find(driver: Chrome, selector: str) -> WebElement:
    """Wait for the element at `selector` and return it."""

    def look(_: Chrome) -> WebElement | None:
        found = driver.find_elements(By.CSS_SELECTOR, selector)
        return next((each for each in found if each.is_displayed()), None)

    found = WebDriverWait(driver, _DEADLINE).until(look)
    assert found
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
