"""The report in a real browser: filtered, unfolded, zoomed, read aloud, printed, in the dark and on a telephone."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.fakes.browser import PICTURES, picture
from tests.report.conftest import REPORTS
from tests.tiny_run import STRANGE

_LOOKS: tuple[tuple[int, Literal["light", "dark"], Literal["screen", "print"]], ...] = (
    (390, "dark", "screen"),
    (768, "light", "screen"),
    (1400, "dark", "screen"),
    (1400, "light", "screen"),
    (768, "light", "print"),
)
SHOWN = ":not([hidden])"
_COUNT = """(number) => {
    const part = document.querySelectorAll("section[data-group], details.more")[number];
    return part.querySelectorAll(part.matches("section") ? "[data-card]" : "[data-text]").length;
}"""
CARDS = f"[data-card=concept]{SHOWN}"
# Parts of the page that reach beyond the window, but for what can be moved within a frame of its own.
_STANDING_OUT = """() => [...document.querySelectorAll("main *")].filter(part =>
    part.checkVisibility() && !part.closest(".wide, svg, pre, .skip, .stack thead")
    && (part.getBoundingClientRect().right > innerWidth + 1 || part.getBoundingClientRect().left < -1)
).slice(0, 3).map(part => part.outerHTML.slice(0, 200))"""


# Parts that reach beyond the card that they stand in.
_OUT_OF_ITS_CARD = """() => [...document.querySelectorAll(".card")].flatMap(card => {
    const edge = card.getBoundingClientRect();
    return [...card.querySelectorAll("*")].filter(part => part.checkVisibility() && !part.closest(".wide, svg, pre")
        && (part.getBoundingClientRect().right > edge.right + 1 || part.getBoundingClientRect().left < edge.left - 1));
}).slice(0, 3).map(part => part.outerHTML.slice(0, 200))"""
# The colour behind a picture, and those of the words in it, as numbers 0..255.
_GROUND_AND_INKS = """selector => {
    const frame = document.querySelector(selector);
    const numbers = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
    const onTop = group => [...group.querySelectorAll("path, use")].pop();  // below it may be a halo
    const drawn = [...frame.querySelectorAll("svg g[id*=text_]")].map(onTop).filter(Boolean);
    const inks = drawn.map(part => getComputedStyle(part).fill).filter(fill => fill.startsWith("rgb"));
    return [numbers(getComputedStyle(frame).backgroundColor), [...new Set(inks)].map(numbers)];
}"""


def contrast(one: Sequence[float], other: Sequence[float]) -> float:
    """Of two colours, as WCAG has it."""

    def luminance(colour: Sequence[float]) -> float:
        shares = (value / 255 for value in colour)
        linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        return sum(weight * share for weight, share in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.fixture
def opened(browser: Browser, reports: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[Page]:
    """A report as the test asks for it (default: the demo's); whatever it asks of the network or complains of fails."""
    asked = getattr(request, "param", {})
    page = browser.new_page(
        viewport={"width": asked.get("width", 1200), "height": 900}, color_scheme=asked.get("scheme", "light")
    )
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    address = reports[asked.get("report", "demo")].as_uri()
    page.on("request", lambda made: None if made.url.startswith((address, "data:")) else complaints.append(made.url))
    page.goto(address)
    yield page
    page.close()
    assert complaints == []


def report_of(name: str, **asked: object) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("opened", [{"report": name, **asked}], indirect=True)


every_report = pytest.mark.parametrize(
    "opened", [{"report": name} for name in ("demo", "few", "many")], indirect=True, ids=("demo", "few", "many")
)


def unfold(page: Page, selector: str = "details.part, details.fold") -> None:
    """Open what is folded."""
    page.evaluate("selector => document.querySelectorAll(selector).forEach(part => { part.open = true; })", selector)


def shown(page: Page, selector: str) -> int:
    return page.locator(f"{selector} >> visible=true").count()


# --- every run ---


@every_report
def test_whatever_is_in_texts_and_names_the_page_is_whole(opened: Page, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.id
    assert opened.title() and "taken over" not in opened.title(), "no text took it over"
    n_concepts, n_classes = {"demo": (1, 5), "few": (1, 2), "many": (150, 77)}[name]
    assert shown(opened, CARDS) >= n_concepts
    assert opened.locator("#class option").count() == n_classes + 1
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing stands out on the right"
    picture(opened, f"report_{name}")
    opened.locator(f"{CARDS} details.fold > summary").first.click()
    opened.locator(CARDS).first.scroll_into_view_if_needed()
    picture(opened, f"report_{name}_concept")


# Not of many concepts: the same rules on thousands of elements take minutes.
@pytest.mark.parametrize(
    "opened",
    [pytest.param({"report": "demo"}, marks=pytest.mark.slow), {"report": "few"}],
    indirect=True,
    ids=("demo", "few"),
)
def test_no_rule_for_people_who_cannot_see_or_use_a_mouse_is_broken(
    browser: Browser, opened: Page, request: pytest.FixtureRequest
) -> None:
    for width, scheme, medium in _LOOKS:
        # The checker puts its script into the page, which the page's own policy forbids.
        context = browser.new_context(color_scheme=scheme, bypass_csp=True, viewport={"width": width, "height": 900})
        page = context.new_page()
        page.emulate_media(media=medium)
        page.goto(opened.url)
        unfold(page, "details")
        found = Axe().run(page).response["violations"]
        context.close()
        assert [(rule["id"], rule["nodes"][0]["html"][:200]) for rule in found] == [], (width, scheme, medium)


@pytest.mark.parametrize(
    "opened",
    [
        {"report": name, "scheme": scheme, "width": width}
        for name in REPORTS
        for scheme in ("light", "dark")
        for width in (390, 768, 1400)
    ],
    indirect=True,
    ids=lambda asked: f"{asked['report']}-{asked['width']}-{asked['scheme']}",
)
def test_at_no_width_is_anything_cut_off_and_no_part_stands_out(opened: Page, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.id
    is_dark = opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(27, 30, 35)"
    assert is_dark == ("dark" in name)
    picture(opened, f"report_{name}")
    for folded in ("details.part", "details"):
        unfold(opened, folded)
        assert opened.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, folded
        assert opened.evaluate(_STANDING_OUT) == [], folded
    opened.locator(CARDS).first.scroll_into_view_if_needed()
    picture(opened, f"report_{name}_concept")


@every_report
def test_on_a_telephone_tables_are_read_downwards_and_nothing_leaves_its_card(opened: Page) -> None:
    opened.set_viewport_size({"width": 390, "height": 900})
    unfold(opened, "details")
    for table in opened.locator("table.stack").all():
        frame = table.locator("xpath=..")
        assert frame.evaluate("frame => frame.scrollWidth - frame.clientWidth") <= 0, table.inner_text()[:80]
        tops = (
            table.locator("tbody tr")
            .first.locator("th, td")
            .evaluate_all("cells => cells.map(cell => cell.getBoundingClientRect().top)")
        )
        assert tops == sorted(set(tops)), "each cell below the one before"
        unlabelled = table.locator("tbody td:not([data-label])")
        assert unlabelled.count() == 0
    for part in ("classifier", "methods"):
        assert opened.locator(f"#{part} .wide table:not(.stack)").count() == 0
    assert opened.evaluate(_OUT_OF_ITS_CARD) == []


@report_of("demo", scheme="dark")
def test_in_the_dark_pictures_have_a_ground_on_which_their_ink_is_read(opened: Page) -> None:
    unfold(opened, "details")
    for picture_of in (".map", ".drawn"):
        ground, inks = opened.evaluate(_GROUND_AND_INKS, picture_of)
        assert inks, picture_of
        assert min(contrast(ground, ink) for ink in inks) >= 4.5, picture_of


@report_of("few")
def test_texts_from_right_to_left_are_set_so(opened: Page) -> None:
    texts = opened.locator("p.slc-text", has_text=STRANGE[1])
    assert texts.count() > 0
    assert texts.first.evaluate("text => text.matches(':dir(rtl)')")
    name = opened.locator("#class option").nth(2).inner_text()
    assert name == STRANGE[1]


# --- search and filter ---


@report_of("demo")
def test_search_leaves_the_concepts_and_texts_with_all_the_words(opened: Page) -> None:
    word = opened.locator(f"{CARDS} .cloud li").first.inner_text()
    before = shown(opened, CARDS)
    opened.fill("#search", f"  {word.upper()} ")
    cards = opened.locator(CARDS)
    assert 1 <= cards.count() <= before
    for number in range(cards.count()):
        assert word.lower() in (cards.nth(number).text_content() or "").lower()
    expect(opened.locator("#found")).to_have_text(re.compile(rf"^{cards.count()}\D+{before}\D+\d+\D*$"))
    opened.fill("#search", "no such word anywhere")
    expect(opened.locator("#found")).to_have_text(re.compile(rf"^0\D+{before}\D+0\D*$"))
    assert shown(opened, CARDS) == shown(opened, "[data-group]") == 0
    opened.click("#reset")
    assert shown(opened, CARDS) == before and opened.input_value("#search") == ""


@report_of("demo")
def test_a_word_of_a_text_alone_leaves_that_text_also_where_it_was_folded_away(opened: Page) -> None:
    last = opened.locator("[data-card=concept] details.more [data-text]").last
    words = " ".join((last.locator(".slc-text").text_content() or "").split()[:5])
    card = last.locator("xpath=ancestor::article")
    assert not last.is_visible()
    opened.fill("#search", words)
    assert last.is_visible() and card.locator(f"[data-text]{SHOWN}").count() < card.locator("[data-text]").count()


@report_of("demo")
def test_a_class_leaves_its_concepts_and_the_mistakes_about_it(opened: Page) -> None:
    number = str(opened.locator("[data-card=concept]").last.get_attribute("data-class"))
    opened.select_option("#class", number)
    cards = opened.locator(CARDS)
    assert cards.count() == opened.locator(f"[data-card=concept][data-class='{number}']").count()
    assert cards.count() > 0
    for text in opened.locator(f"[data-card=mistakes] [data-text]{SHOWN}").all():
        assert number in (text.get_attribute("data-text") or "").split()


@report_of("suspects")
def test_what_headings_count_is_what_is_left(opened: Page) -> None:
    def counted() -> list[tuple[int, int]]:
        """What each heading says, and what stands below it."""
        groups = [(group, f"[data-card]{SHOWN}") for group in opened.locator(f"section[data-group]{SHOWN}").all()]
        folds = [(fold, f"[data-text]{SHOWN}") for fold in opened.locator(f"details.more{SHOWN}").all()]
        assert opened.locator(f"[data-card=row] details.more{SHOWN}").count() > 1
        return [
            (int(part.locator("[data-count]").first.text_content() or ""), part.locator(below).count())
            for part, below in [*groups, *folds]
        ]

    before = counted()
    assert len(before) > 2 and all(told == there for told, there in before)
    opened.check("#wrong")
    left = counted()
    assert left != before and all(told == there for told, there in left)
    opened.click("#reset")
    assert counted() == before


@report_of("suspects")
def test_the_table_of_concepts_on_wrong_decisions_is_searched_too(opened: Page) -> None:
    rows = opened.locator("[data-card=row]")
    n_rows = rows.count()
    assert n_rows > 1
    number = str(rows.first.get_attribute("data-class"))
    opened.select_option("#class", number)
    left = opened.locator(f"[data-card=row]{SHOWN}")
    assert 0 < left.count() == opened.locator(f"[data-card=row][data-class='{number}']").count()
    opened.click("#reset")
    name = rows.first.locator("th a").inner_text()
    opened.fill("#search", name)
    assert left.count() >= 1 and opened.locator(f"[data-card=row]{SHOWN} th a", has_text=name).count() >= 1
    opened.fill("#search", "no such word anywhere")
    assert left.count() == 0
    opened.click("#reset")
    assert left.count() == n_rows


def test_a_text_that_stands_in_the_table_alone_is_found_unfolded_and_counted(
    browser: Browser, reports: dict[str, Path], tmp_path: Path
) -> None:
    # Texts of a small run stand in some card too, so one is given a number and words of its own.
    html, changed = re.subn(
        r'(<tr data-card="row".*?data-row=")\d+(".*?<p class="slc-text" dir="auto">).*?</p>',
        r"\g<1>999999\g<2>kolibri</p>",
        reports["suspects"].read_text(encoding="utf-8"),
        count=1,
        flags=re.DOTALL,
    )
    assert changed == 1
    (tmp_path / "report.html").write_text(html, encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    text = page.locator("[data-row='999999']")
    assert not text.is_visible()
    page.fill("#search", "kolibri")
    assert (
        text.is_visible() and page.locator("details.more:has([data-row='999999']) [data-count]").text_content() == "1"
    )
    expect(page.locator("#found")).to_have_text(re.compile(r"^0\D+\d+\D+1\D*$"))
    page.close()


@report_of("demo")
def test_wrong_decisions_can_be_looked_at_alone(opened: Page) -> None:
    opened.check("#wrong")
    texts = opened.locator(f"[data-card]{SHOWN} [data-text]{SHOWN}")
    assert texts.count() > 0
    assert opened.locator(f"[data-card]{SHOWN} [data-text]{SHOWN}:not([data-wrong])").count() == 0
    picture(opened, "report_demo_wrong_alone")


@report_of("few")
def test_search_looks_through_accents_and_other_scripts(opened: Page) -> None:
    opened.fill("#search", "اخبار")  # without the hamza
    assert opened.locator(f"[data-card]{SHOWN} [data-text]{SHOWN}").count() > 0
    opened.fill("#search", "🎉🐕‍🦺")
    assert opened.locator(f"[data-card]{SHOWN} [data-text]{SHOWN}").count() > 0


# --- going about ---


@report_of("demo")
def test_a_link_reveals_a_card_that_was_filtered_away(opened: Page) -> None:
    target = opened.locator(".reliances a").first
    card = opened.locator(str(target.get_attribute("href")))
    opened.fill("#search", "no such word anywhere")
    assert not card.is_visible()
    target.click()
    expect(card).to_be_in_viewport()
    opened.fill("#search", "no such word anywhere")
    target.click()  # once more: the address stays the same
    expect(card).to_be_in_viewport()


@report_of("demo")
def test_words_that_nobody_sees_are_not_found(opened: Page) -> None:
    hidden = opened.locator("details.why caption").first.text_content() or ""  # stands in every explanation
    opened.fill("#search", hidden)
    expect(opened.locator("#found")).to_have_text(re.compile(r"^0\b"))


@report_of("demo")
def test_a_strange_address_does_no_harm(opened: Page) -> None:
    opened.goto(opened.url + "#100%")
    opened.reload()
    unfold(opened)
    whole = width_of_view(opened)
    opened.click("#zoomIn")
    assert width_of_view(opened) < whole


def test_without_scripts_all_is_there_but_what_needs_them(browser: Browser, reports: dict[str, Path]) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(reports["demo"].as_uri())
    assert page.locator(CARDS).count() > 0 and not page.locator("#search").is_visible()
    page.locator(f"{CARDS}:has(details.why) details.fold > summary").first.click()
    page.locator(f"{CARDS} details.why summary >> visible=true").first.click()
    expect(page.locator("details.why table").first).to_be_visible()
    counted = page.locator("section[data-group], details.more")
    for part, below in ((counted.nth(number), page.evaluate(_COUNT, number)) for number in range(counted.count())):
        assert int(part.locator("[data-count]").first.text_content() or "") == below


@report_of("demo")
def test_why_leads_to_the_explanation_of_the_mistake_and_unfolds_it(opened: Page) -> None:
    opened.locator(".example a[href^='#why']").last.click()
    explanation = opened.locator("li:target details.why")
    expect(explanation.locator("table")).to_be_visible()
    expect(opened.locator("li:target .slc-text").first).to_be_in_viewport()
    for side, is_for in (("slc-for", True), ("slc-against", False)):
        for bar in explanation.locator(f".{side}").all():
            box, track = (part.bounding_box() for part in (bar, bar.locator("xpath=..")))
            assert box is not None and track is not None
            middle = track["x"] + track["width"] / 2
            assert box["x"] == pytest.approx(middle, abs=1) if is_for else box["x"] + box["width"] <= middle + 1
    picture(opened, "report_demo_why")


@report_of("demo")
def test_everything_can_be_reached_with_the_keyboard(opened: Page) -> None:
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.hash") == "#concepts"
    opened.keyboard.press("Enter")
    expect(opened.locator("#concepts")).to_be_in_viewport()
    opened.locator("details.fold > summary").first.focus()
    opened.keyboard.press("Enter")
    opened.locator("details.why summary").first.focus()
    opened.keyboard.press("Enter")
    expect(opened.locator("details.why table").first).to_be_visible()


def width_of_view(page: Page) -> float:
    return float(str(page.locator(".map svg").get_attribute("viewBox")).split()[2])


@report_of("demo")
def test_the_map_is_zoomed_by_buttons_keys_and_wheel_and_moved_by_the_mouse(opened: Page) -> None:
    unfold(opened, "#map > details")
    opened.locator("#map").scroll_into_view_if_needed()
    whole = width_of_view(opened)
    opened.click("#zoomIn")
    assert width_of_view(opened) == pytest.approx(whole / 1.5)
    opened.click("#zoomOut")
    opened.click("#zoomOut")
    assert width_of_view(opened) == whole, "no further out than the whole"
    opened.locator(".map").focus()
    opened.keyboard.press("+")
    opened.keyboard.press("+")
    assert width_of_view(opened) == pytest.approx(whole / 1.5**2)
    before = opened.locator(".map svg").get_attribute("viewBox")
    opened.keyboard.press("ArrowRight")
    assert opened.locator(".map svg").get_attribute("viewBox") != before
    opened.keyboard.press("0")
    assert width_of_view(opened) == whole
    box = opened.locator(".map svg").bounding_box()
    assert box is not None
    opened.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 3)
    opened.keyboard.down("Control")
    opened.mouse.wheel(0, -300)
    opened.keyboard.up("Control")
    expect(opened.locator(".map svg")).not_to_have_attribute("viewBox", re.compile(rf" {whole:g} "))
    before = opened.locator(".map svg").get_attribute("viewBox")
    opened.mouse.down()
    opened.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    opened.mouse.up()
    assert opened.locator(".map svg").get_attribute("viewBox") != before
    picture(opened, "report_demo_map")


@report_of("demo")
def test_the_wheel_alone_scrolls_the_page_over_the_map(opened: Page) -> None:
    unfold(opened, "#map > details")
    opened.locator("#map").scroll_into_view_if_needed()
    whole = width_of_view(opened)
    opened.locator(".map").hover()
    before = opened.evaluate("scrollY")
    opened.mouse.wheel(0, -300)
    opened.wait_for_function("before => scrollY < before", arg=before)
    assert width_of_view(opened) == whole


@report_of("demo")
def test_a_pie_leads_to_its_card(opened: Page) -> None:
    unfold(opened, "#map > details")
    pie = opened.locator(".map a").first
    card = opened.locator(str(pie.get_attribute("xlink:href")))
    expect(pie).to_have_attribute("aria-label", card.locator("h4").first.inner_text())
    pie.click()
    expect(card).to_be_in_viewport()
    assert len(opened.context.pages) == 1


@every_report
def test_on_paper_every_text_is_there_and_no_button(opened: Page, request: pytest.FixtureRequest) -> None:
    opened.emulate_media(media="print", color_scheme="dark")
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert shown(opened, "[data-card=concept] [data-text]") == opened.locator("[data-card=concept] [data-text]").count()
    assert shown(opened, "button, #search, nav") == 0
    assert opened.locator("#settings pre").is_visible() and opened.locator("details.why table").first.is_visible()
    assert opened.locator("#words dt").first.is_visible()
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    PICTURES.mkdir(parents=True, exist_ok=True)
    written = opened.pdf(path=PICTURES / f"report_{request.node.callspec.id}.pdf", format="A4")
    opened.evaluate("dispatchEvent(new Event('afterprint'))")
    assert opened.locator("details[open]").count() == 1, "as it was: the concepts"
    assert written.startswith(b"%PDF") and len(re.findall(rb"/Type /Page\b", written)) >= 3


@every_report
def test_the_first_page_is_one_sheet(opened: Page, request: pytest.FixtureRequest) -> None:
    opened.set_viewport_size({"width": 703, "height": 900})  # an A4 sheet less its margins
    opened.evaluate("window.print = () => { window.asked = document.body.className; }")
    opened.click("#printFirst")
    assert opened.evaluate("window.asked") == "onlyFirst"
    opened.emulate_media(media="print")
    assert opened.locator(".firstPage").evaluate("part => part.scrollHeight") <= 1031
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    PICTURES.mkdir(parents=True, exist_ok=True)
    name = f"report_{request.node.callspec.id}_first_page.pdf"
    written = opened.pdf(path=PICTURES / name, prefer_css_page_size=True)
    assert len(re.findall(rb"/Type /Page\b", written)) == 1
    opened.evaluate("dispatchEvent(new Event('afterprint'))")
    assert opened.locator("body.onlyFirst").count() == 0


@report_of("demo")
def test_a_word_is_told_by_how_the_texts_with_it_are_decided(opened: Page) -> None:
    word, (texts, wrong, *_) = next(iter(json.loads(opened.locator("#wordIndex").text_content() or "").items()))
    opened.fill("#search", word)
    told = f"“{word}” is in {texts} test texts: {100 * wrong / texts:.1f} % decided wrongly"
    expect(opened.locator("#slice")).to_contain_text(told)
    opened.fill("#search", "no such word anywhere")
    expect(opened.locator("#slice")).to_have_text("")
    opened.fill("#search", "Kolibri")
    expect(opened.locator("#slice")).to_have_text("“kolibri”, as a whole word, is in fewer than 10 test texts")


@report_of("demo")
def test_the_first_page_has_three_examples(opened: Page) -> None:
    assert shown(opened, ".firstPage .example") == 3


@report_of("demo")
def test_a_table_is_saved_from_the_page(opened: Page) -> None:
    unfold(opened, "#settings > details")
    with opened.expect_download() as waiting:
        opened.locator("a[download='concepts.csv']").click()
    assert waiting.value.suggested_filename == "concepts.csv"
    assert Path(waiting.value.path()).read_text(encoding="utf-8").startswith("concept,name,class,")


def test_a_report_of_many_concepts_and_classes_is_a_few_megabytes(reports: dict[str, Path]) -> None:
    sizes = {name: path.stat().st_size / 1e6 for name, path in reports.items()}
    assert sizes["few"] < 1 and sizes["demo"] < 2 and sizes["many"] < 9
