"""Take the picture of a report for the README: ``python docs/report_png.py runs/demo docs/report.png``.

Needs Chromium on the path.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

report, picture = Path(sys.argv[1]) / "report.html", Path(sys.argv[2])
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
    page = browser.new_page(viewport={"width": 1000, "height": 800}, device_scale_factor=1.25)
    page.goto(report.resolve().as_uri())
    end = page.locator("#glance").bounding_box()
    assert end is not None
    clip = {"x": 0, "y": 0, "width": 1000, "height": end["y"] + end["height"] + 16}
    page.screenshot(path=picture, clip=clip, full_page=True)  # type: ignore[arg-type]
    browser.close()
