"""A real browser for pages, and pictures of them to look at."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

# Kept for people: what the pages looked like in the last run of the tests.
PICTURES = Path(__file__).parents[2] / "build" / "pictures"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium without a window; the test is skipped where there is none.

    It is looked for on the path; the environment variable CHROMIUM names another.
    """
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("no Chromium on the path; install it, or name it in the environment variable CHROMIUM")
    with sync_playwright() as playwright:
        # Root, as in a container, has no sandbox.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


def picture(page: Page, name: str) -> None:
    """Keep what the window shows as ``build/pictures/<name>.png``."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png")
