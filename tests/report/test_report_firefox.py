"""The report in Firefox: whole at every width, searched, unfolded, printed."""

import contextlib
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.firefox import Firefox, firefox
from tests.report.conftest import REPORTS

_HIDDEN = "return [...document.querySelectorAll(arguments[0])].filter(part => !part.checkVisibility()).length"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    with firefox(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("width", [390, 768, 1400])
@pytest.mark.parametrize("name", REPORTS)
def test_nothing_stands_out_on_the_right(window: Firefox, reports: dict[str, Path], name: str, width: int) -> None:
    for dark in (False, True):
        window.open(reports[name].as_uri(), width, dark)
        assert window.run("return innerWidth") == width
        assert window.run("return matchMedia('(prefers-color-scheme: dark)').matches") is dark
        for folds in ("details.part", "details"):
            window.run("document.querySelectorAll(arguments[0]).forEach(part => { part.open = true; })", folds)
            assert window.run("return document.documentElement.scrollWidth - innerWidth") <= 0, (folds, dark)
    window.open(reports[name].as_uri(), width)
    assert "taken over" not in window.run("return document.title")
    window.picture(f"firefox_{name}_{width}")


def test_it_is_searched_and_a_link_leads_to_a_card_that_unfolds(window: Firefox, reports: dict[str, Path]) -> None:
    window.open(reports["demo"].as_uri(), 1400)
    look = "const field = document.getElementById('search'); field.value = arguments[0]; "
    look += "field.dispatchEvent(new Event('input')); return document.getElementById('found').textContent"
    assert re.match(r"0 of \d+ concepts, 0 texts", window.run(look, "no such word anywhere"))
    assert not re.match("0 of", window.run(look, ""))
    word = window.run("return Object.keys(JSON.parse(document.getElementById('wordIndex').textContent))[0]")
    window.run(look, word)
    assert f"“{word}” is in " in window.run("return document.getElementById('slice').textContent")
    window.run("document.querySelector('.reliances a').click()")
    card = "document.querySelector(document.querySelector('.reliances a').getAttribute('href'))"
    assert window.run(f"return {card}.querySelector('details.fold').open")


def test_on_paper_the_first_page_is_one_sheet_and_all_else_follows(window: Firefox, reports: dict[str, Path]) -> None:
    window.open(reports["demo"].as_uri(), 1400)
    whole = window.printed()
    assert whole.startswith(b"%PDF")
    window.run("document.body.classList.add('onlyFirst')")
    first = window.printed()
    window.run("document.body.classList.remove('onlyFirst')")
    window.run("window.addEventListener('beforeprint', event => event.stopImmediatePropagation(), true)")
    folded = window.printed()
    assert _pages(first) == 1 < _pages(folded) < _pages(whole) / 4, "nothing stays folded on paper"
    assert window.run(_HIDDEN, "details.fold > summary") == 0


def _pages(pdf: bytes) -> int:
    """How many there are; Firefox writes what they are into compressed streams."""
    content = pdf
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        with contextlib.suppress(zlib.error):
            content += zlib.decompress(stream)
    return len(re.findall(rb"/Type\s*/Page\b", content))
