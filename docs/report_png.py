"""Take the picture of a report for the README: ``python -m docs.report_png runs/demo docs/report.png``.

Needs Chromium, found as the tests find it.
"""

import sys
from pathlib import Path

from playwright.sync_api import FloatRect

from tests.fakes.browser import chromium

report, picture = Path(sys.argv[1]) / "report.html", Path(sys.argv[2])
with chromium() as browser:
    page = browser.new_page(viewport={"width": 1000, "height": 800}, device_scale_factor=1.25)
    page.goto(report.resolve().as_uri())
    end = page.locator(".firstPage").bounding_box()
    assert end is not None
    clip = FloatRect(x=0, y=0, width=1000, height=end["y"] + end["height"])
    page.screenshot(path=picture, clip=clip, full_page=True)
