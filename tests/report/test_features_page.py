"""The page about a study of features: harmless, whole, nothing but itself, and what the study says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from sae_lens_classif.checksums import read_json
from sae_lens_classif.errors import UserError
from sae_lens_classif.features.transfer import transfer_study
from sae_lens_classif.report.features_page import features_page, write_features_report
from sae_lens_classif.report.features_view import heat_maps, matrix_of, shown_features
from sae_lens_classif.report.transfer_view import carried
from sae_lens_classif.runs.folder import RunFolder
from sae_lens_classif.runs.study_files import read_study
from tests.conftest import MakeOnce
from tests.fakes.browser import picture
from tests.fakes.firefox import firefox
from tests.fakes.models import write_model
from tests.features.test_caching import FIRST, SECOND, write_sae
from tests.features.test_transfer import APPROACHES, SETTINGS, made
from tests.html_page import ParsedPage
from tests.tiny_run import STRANGE, cli, write_csv

NAMES = ("<script>alert(1)</script>", "\u202eturned \u05d7\u05d3\u05e9\u05d5\u05ea", "money")
_WORDS = (("dog", "cat", "fox"), ("rain", "storm", "snow"), ("bank", "market", "price"))
_OPTIONS = ("--features.poolings", "mean,last,counts3", "--features.n_features", "2,5", "--features.n_bootstrap", "50",
            "--features.thresholds", "0.5")  # fmt: skip
_STANDING_OUT = """() => [...document.querySelectorAll("main *")].filter(part =>
    part.checkVisibility() && !part.closest(".wide, .skip, .stack thead")
    && (part.getBoundingClientRect().right > innerWidth + 1 || part.getBoundingClientRect().left < -1)
).slice(0, 3).map(part => part.outerHTML.slice(0, 200))"""


def hostile_texts(n: int, seed: int) -> tuple[list[str], list[int]]:
    random, labels = np.random.default_rng(seed), [row % 3 for row in range(n)]
    texts = [" ".join([*random.choice(_WORDS[label], 4), f"{row}"]) for row, label in enumerate(labels)]
    strange = (*STRANGE, "\u202e dog \u202e @somebody https://example.org/secret", "x" * 20_000, "rain " * 4000)
    for row, text in enumerate(strange):
        texts[row] = f"{text} {_WORDS[row % 3][0]} {seed}"
    return texts, labels


@pytest.fixture(scope="session")
def studied(make_once: MakeOnce) -> Path:
    """A run that holds nothing but a study, of texts that a page may stumble over."""

    def make(folder: Path) -> None:
        for split, n, seed in (("train", 90, 0), ("test", 45, 1)):
            write_csv(folder / "texts" / f"{split}.csv", *hostile_texts(n, seed))
        write_model(folder / "model", "GPTNeoX", "ForCausalLM")
        saes = f"{write_sae(folder / 'one', FIRST)},{write_sae(folder / 'two', SECOND)}"
        cfg = folder / "one" / "cfg.json"
        content = json.loads(cfg.read_text(encoding="utf-8"))
        content["metadata"]["neuronpedia_id"] = "gpt2-small/0-res"
        cfg.write_text(json.dumps(content), encoding="utf-8")
        ended = cli("features", "--run", folder / "run",
                    "--data.source", folder / "texts", "--features.model", folder / "model",
                    "--features.saes", saes, "--data.class_names", json.dumps(NAMES), *_OPTIONS)  # fmt: skip
        assert ended.code == 0, ended.stderr
        (folder / "shown.txt").write_text(ended.stdout, encoding="utf-8")

    return make_once("studied", make) / "run"


@pytest.fixture
def opened(browser: Browser, studied: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page; whatever it asks of the network or complains of fails."""
    asked: tuple[int, Literal["light", "dark"]] = getattr(request, "param", (1200, "light"))
    width, scheme = asked
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    address = (studied / "features" / "report.html").as_uri()
    page.on("request", lambda made: None if made.url == address else complaints.append(made.url))
    page.goto(address)
    yield page
    page.close()
    assert complaints == []


def unfold(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")


def test_it_is_one_file_without_scripts_that_says_what_the_study_says(studied: Path) -> None:
    html = (studied / "features" / "report.html").read_text(encoding="utf-8")
    page, found = ParsedPage(html), read_study(RunFolder.open(studied))
    assert found is not None
    study, behind = found
    assert "script" not in page.tags and "img" not in page.tags and "link" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    policy = next(value for value in page.values("content") if "default-src" in value)
    assert "default-src 'none'" in policy and "script-src" not in policy
    links = [link for link in page.values("href") if not link.startswith("#")]
    assert all(re.fullmatch(r"https://www\.neuronpedia\.org/gpt2-small/0-res/\d+", link) for link in links)
    assert bool(links) == behind.source.endswith("/one")
    assert html.count('class="feature ') == sum(len(one.weights) for one in behind.classes) > 0
    assert str(studied.parent) not in html, "no folder of this machine"
    words = " ".join(page.words.split())
    assert "Best in cross-validation on the training texts" in words and "macro F1" in words
    assert html.count('<tr><th scope="row"><bdi>') >= len(study.rows)
    for name in NAMES:
        assert name in page.words
    assert len(html) < 1_000_000


def test_the_command_says_where_it_is_and_report_writes_it_again(studied: Path, tmp_path: Path) -> None:
    page = studied / "features" / "report.html"
    assert str(page) in (studied.parent / "shown.txt").read_text(encoding="utf-8").replace("\n", "")
    before = page.read_bytes()
    ended = cli("report", studied)
    assert ended.code == 0 and str(page) in ended.stdout.replace("\n", "") and page.read_bytes() == before
    ended = cli("report", studied, "--out", tmp_path / "page.html", "--mask", "--note", "<b>offensive</b> texts")
    assert ended.code == 0, ended.stderr
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;offensive" in html and "example.org" not in html and "@somebody" not in html and "[link]" in html
    assert "example.org" in before.decode() or "example" in before.decode()


def test_a_run_without_a_study_is_told_so(studied: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_bytes((studied / "config.yaml").read_bytes())
    with pytest.raises(UserError, match="holds no study of features; run `features` first"):
        write_features_report(RunFolder.open(tmp_path / "run"))


def test_what_was_found_is_written_for_people_papers_and_machines(studied: Path) -> None:
    markdown = (studied / "features" / "study.md").read_text(encoding="utf-8")
    assert "## The features behind each class" in markdown
    assert "<script>" not in markdown and "\u202e" not in markdown.partition("## The features")[2]
    latex = (studied / "features" / "study.tex").read_text(encoding="utf-8")
    assert latex.startswith(r"\begin{tabular}{lrrrrr}") and r"\bottomrule" in latex and str(studied.parent) not in latex
    behind = read_json(studied / "features" / "behind.json")
    assert [one["class_name"] for one in behind["classes"]] == list(NAMES)
    assert not (studied / "features" / "saebench").exists(), "three classes are no two"


def test_a_heat_map_has_what_the_rows_have(studied: Path) -> None:
    found = read_study(RunFolder.open(studied))
    assert found is not None
    study, _ = found
    pooling, number = heat_maps(study, lambda words: words)
    assert set(pooling.columns) == {"mean", "last", "counts3"} and number.columns == ("best 2", "best 5", "all")
    cells = [cell for one in (pooling, number) for _, rows in one.groups for _, row in rows for cell in row if cell]
    assert all(0 <= cell.share <= 100 for cell in cells) and max(cell.share for cell in cells) == 100
    marked = {cell.value for cell in cells if cell.is_best}
    assert marked == {f"{100 * (study.rows[study.best].cv_macro_f1 or 0):.1f}"}
    assert [heading for heading, _ in pooling.groups] == ["SAEs", "Baselines"]


def test_a_matrix_of_what_carries_over_has_a_place(studied: Path) -> None:
    values = {("en", "en"): (0.9, (0.85, 0.95)), ("en", "<b>"): (0.6, None), ("de", "en"): (0.5, (0.4, 0.6))}
    matrix = matrix_of(
        "languages", "Languages", "Trained on a row, tested on a column.", ("from", "to"), values, floor=0.5
    )
    ((_, rows),) = matrix.groups
    assert matrix.columns == ("en", "<b>") and rows[1][1][1] is None
    assert [cell.share for cell in rows[0][1] if cell] == [100.0, 25.0] and rows[0][1][0].below == "85.0 to 95.0"  # type: ignore[union-attr]


def test_what_was_carried_over_is_on_the_page(studied: Path, tmp_path: Path) -> None:
    transfer = transfer_study("languages", made(tmp_path), APPROACHES, tmp_path / "fits", SETTINGS)
    found = read_study(RunFolder.open(studied))
    assert found is not None
    (shown,) = carried([transfer], str)
    assert [one.title.partition(",")[0] for one in shown.matrices] == ["SAE features", "hidden state", "words (TF-IDF)"]
    (_, rows), *_ = shown.matrices[0].groups
    cell = transfer.matrices["features"].cells["de"]["fr"].macro_f1
    de_to_fr = dict(zip(shown.matrices[0].columns, dict(rows)["de"], strict=True))["fr"]
    assert de_to_fr is not None and de_to_fr.value == f"{100 * cell.value:.1f}"
    html = features_page(*found, name="x", transfers=[transfer])
    assert "What carries over" in html and "To another language" in html and de_to_fr.below in html
    assert "What carries over" not in features_page(*found, name="x")


def test_a_page_that_masks_names_nobody(studied: Path) -> None:
    found = read_study(RunFolder.open(studied))
    assert found is not None
    for is_masked in (False, True):
        texts = [
            "".join(piece for piece, _, _ in example.pieces)
            for of_class in shown_features(found[1], is_masked)
            for one in of_class
            for example in one.examples
        ]
        named = [text for text in texts if "somebody" in text or "secret" in text]
        assert bool(named) != is_masked


@pytest.mark.parametrize(
    "opened",
    [(width, scheme) for width in (360, 768, 1200) for scheme in ("light", "dark")],
    indirect=True,
    ids=lambda asked: f"{asked[0]}-{asked[1]}",
)
def test_at_no_width_does_anything_stand_out(opened: Page, request: pytest.FixtureRequest) -> None:
    is_dark = opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(27, 30, 35)"
    assert is_dark == ("dark" in request.node.callspec.id)
    picture(opened, f"features_{request.node.callspec.id}")
    unfold(opened)
    assert opened.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert opened.evaluate(_STANDING_OUT) == []
    opened.locator(".feature").first.scroll_into_view_if_needed()
    picture(opened, f"features_{request.node.callspec.id}_behind")


def test_texts_take_nothing_over(opened: Page) -> None:
    unfold(opened)
    assert opened.title() == "run: which features classify the texts"
    assert opened.evaluate("document.scripts.length") == 0
    shown = opened.locator("p.slc-text").all_inner_texts()
    assert any("taken over" in text for text in shown), "as words"
    assert max(map(len, shown)) < 600
    direction = opened.locator("p.slc-text", has_text="\u05d7\u05d3\u05e9\u05d5\u05ea")
    if direction.count():
        assert direction.first.evaluate("text => text.matches(':dir(rtl)')")


def test_no_rule_for_people_who_cannot_see_or_use_a_mouse_is_broken(browser: Browser, studied: Path) -> None:
    looks: tuple[tuple[int, Literal["light", "dark"]], ...] = ((360, "dark"), (1200, "light"))
    for width, scheme in looks:
        # The checker puts its script into the page, which the page's own policy forbids.
        context = browser.new_context(color_scheme=scheme, bypass_csp=True, viewport={"width": width, "height": 900})
        page = context.new_page()
        page.goto((studied / "features" / "report.html").as_uri())
        unfold(page)
        found = Axe().run(page).response["violations"]
        context.close()
        assert [(rule["id"], rule["nodes"][0]["html"][:200]) for rule in found] == [], (width, scheme)


def test_firefox_shows_it_whole_too(studied: Path, tmp_path: Path) -> None:
    with firefox(tmp_path) as window:
        for width, dark in ((360, True), (1200, False)):
            window.open((studied / "features" / "report.html").as_uri(), width, dark)
            window.run("document.querySelectorAll('details').forEach(part => { part.open = true; })")
            assert window.run("return document.documentElement.scrollWidth - innerWidth") <= 0
            assert window.run("return document.title") == "run: which features classify the texts"
            window.picture(f"firefox_features_{width}")
