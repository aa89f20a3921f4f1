"""What whoever writes a report chooses: columns, masks, a note; and the files that the page holds."""

import base64
import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from sae_lens_classif import UserError, open_run, write_report
from sae_lens_classif.audit.stable_concepts import Stability, StableConcept
from sae_lens_classif.evals.slices import words_in
from sae_lens_classif.report import masking
from sae_lens_classif.report.build import Choices, gather_report
from sae_lens_classif.report.downloads import downloads, tables
from sae_lens_classif.report.masking import masked, masked_concept
from sae_lens_classif.report.page import report_page
from sae_lens_classif.report.view import Report
from sae_lens_classif.runs.folder import RunFolder
from tests.tiny_run import change_settings, cli


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("@you see https://t.co/Ab1?x=2, ok", "@… see [link] ok"),
        ("mail me@home.org", "mail me@home.org"),
        ("WWW.example.org/a and @a_b:", "[link] and @…:"),
        ("nothing here", "nothing here"),
        ("@jean-luc, @user@mastodon.social; @user.name t.co/abc", "@…, @…; @… [link]"),
        ("and/or 24/7 e.g. this", "and/or 24/7 e.g. this"),
    ],
)
def test_handles_and_addresses_are_masked_and_words_stay_words(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert [masked(word) for word in text.split()] == shown.split()


@pytest.fixture
def run(few_strange: Path, tmp_path: Path) -> Path:
    """A copy of a run, whose texts have a column more, and handles and addresses."""
    return Path(shutil.copytree(few_strange.parent, tmp_path / "strange")) / "run"


def _change_texts(run: Path, change: Callable[[dict[str, str], int], dict[str, str]]) -> None:
    """Put other test texts beside the run's own, and let the run read these."""
    source = Path(yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["data"]["source"])
    texts = run.parent / "more"
    shutil.copytree(source, texts)
    file = texts / "test.csv"
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    with file.open("w", encoding="utf-8", newline="") as opened:
        changed = [change(row, number) for number, row in enumerate(rows)]
        writer = csv.DictWriter(opened, list(changed[0]))
        writer.writeheader()
        writer.writerows(changed)
    change_settings(run, str(source), str(texts))


def test_texts_are_told_apart_by_a_column(run: Path, tmp_path: Path) -> None:
    _change_texts(run, lambda row, number: {**row, "lang": "de" if number % 2 else "en"})
    report = gather_report(RunFolder.open(run), Choices(0, columns=("lang",)))
    n_texts = report.summary["n_test_texts"]
    parts = report.slices["lang"]
    assert {part.name: part.n_texts for part in parts} == {"en": -(-n_texts // 2), "de": n_texts // 2}
    assert sum(part.n_wrong for part in parts) == report.mistakes.n_wrong
    page = tmp_path / "page.html"
    ended = cli("report", run, "--out", page, "--explained", 0, "--by", "lang", "--note", "<b>rude</b> texts")
    assert ended.code == 0, ended.stderr
    html = page.read_text(encoding="utf-8")
    assert "By <bdi>lang</bdi>" in html and "&lt;b&gt;rude&lt;/b&gt; texts" in html
    ended = cli("report", run, "--by", "land")
    assert ended.code == 2 and "no column 'land'" in ended.stderr and "lang" in ended.stderr


def test_masked_texts_show_no_handle_and_no_address(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = gather_report(RunFolder.open(run), Choices(2))
    monkeypatch.setattr(masking, "_HANDLE", re.compile(r"\b[wW]\w+"))  # as some of these texts have them
    hidden = gather_report(RunFolder.open(run), Choices(2, mask=True))
    assert any("@…" in text.text for text in hidden.texts.values())
    for number, text in report.texts.items():
        assert hidden.texts[number].text == masked(text.text)
        explained = text.explanation
        if explained is not None:
            shown = hidden.texts[number].explanation
            assert shown is not None and list(shown.words) == [masked(word) for word in explained.words]


def test_a_masked_page_shows_no_handle_and_no_link_anywhere(run: Path, tmp_path: Path) -> None:
    _change_texts(
        run, lambda row, number: {**row, "text": f"@some_body{number % 3} https://t.co/x{number % 2} {row['text']}"}
    )
    shutil.rmtree(run / "activations" / "test")
    for step in ("cache", "evaluate"):
        ended = cli(step, "--run", run, "--overwrite")
        assert ended.code == 0, ended.stderr
    for masks in ([], ["--mask"]):
        page = tmp_path / f"page{len(masks)}.html"
        ended = cli("report", run, "--out", page, "--explained", 5, *masks)
        assert ended.code == 0, ended.stderr
        html = page.read_text(encoding="utf-8")
        # Names of XML and what matplotlib says of itself are no links of a text; what an SVG's images hold are pixels.
        ours = r'<metadata>.*?</metadata>|xmlns(:\w+)?="http[^"]*"|xlink:href="data:image[^"]*"'
        shown = re.sub(ours, "", html, flags=re.DOTALL)
        files = [
            base64.b64decode(held).decode() for held in re.findall(r'href="data:[^"]*;base64,([^"]*)" download', html)
        ]
        assert len(files) > 5
        for told in (shown, *files):
            found = re.findall(r"some_body\d|https?:\S+", told)
            assert not masks or found == []
        assert bool(masks) or "some_body1" in shown


def test_a_name_that_was_given_is_not_masked(run: Path, tmp_path: Path) -> None:
    opened = open_run(run)
    index = next(iter(opened.concepts))
    opened.name(index, "zzz my own")
    for masks in ([], ["--mask"]):
        page = tmp_path / f"page{len(masks)}.html"
        assert cli("report", run, "--out", page, "--explained", 1, *masks).code == 0
        named = f"Concept {index}: <bdi>zzz my own</bdi>"
        assert named in page.read_text(encoding="utf-8")


def test_no_key_word_or_name_of_a_concept_is_what_texts_hide() -> None:
    entry = {"index": 1, "key_words": ["elonmusk", "good", "it's"], "name": "elonmusk said, good news"}
    visible = words_in("It's good news, said …")
    assert masked_concept(entry, visible) == {"index": 1, "key_words": ["good", "it's"], "name": "good news"}


def test_the_tables_are_files_that_the_page_holds(demo_folder: Path) -> None:
    report = gather_report(RunFolder.open(demo_folder / "runs" / "demo"), Choices(0))
    files = {file.file: file.address for file in downloads(report)}
    names = (
        "numbers", "concepts", "activations", "effect_by_activation", "alike", "classes", "confusion", "calibration",
        "slices", "mistakes", "methods",
    )  # fmt: skip
    assert set(files) == {*(f"{name}.csv" for name in names), "classifsae.json"}
    contents = {name: base64.b64decode(address.partition(",")[2]).decode() for name, address in files.items()}
    rows = list(csv.DictReader(io.StringIO(contents["concepts.csv"])))
    assert [int(row["concept"]) for row in rows] == [concept.index for concept in report.concepts]
    assert float(rows[0]["activation_rate"]) == report.concepts[0].activation_rate
    whole = json.loads(contents["classifsae.json"], parse_constant=pytest.fail)  # neither NaN nor Infinity
    assert whole["run"] == "demo" and set(whole) == {"run", *tables(report)}
    assert (
        sum(sum(row[f"decided {name}"] for name in report.class_names) for row in whole["confusion"])
        == (report.summary["n_test_texts"])
    )


@pytest.mark.parametrize("left_out", [None, "numbers", "classes", "calibration", "slices", "methods"])
def test_every_number_in_a_table_of_the_page_is_in_a_file(
    stable: Report, left_out: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tables(stable)
    found.pop(left_out or "", None)
    values = [value for rows in found.values() for row in rows for value in row.values()]
    numbers = {str(value) for value in values if isinstance(value, int)}
    numbers |= {_digits(number) for number in map(str, numbers)}
    for value in (value for value in values if isinstance(value, float)):
        numbers |= {f"{abs(value) * scale:.{places}f}" for scale, places in ((100, 1), (1, 3), (1, 2), (1, 0), (1, 1))}
    shown = {
        _digits(cell)
        for table in re.findall(r"<table.*?</table>", report_page(stable), re.DOTALL)
        if "fingerprints" not in table and "slc-" not in table
        for cell in re.findall(r"[\d,]*\.?\d+", " ".join(re.findall(r'<td class="number"[^>]*>(.*?)</td>', table)))
    }
    missing = shown - numbers
    assert bool(missing) == (left_out is not None), missing


def _digits(number: str) -> str:
    return number.replace(",", "")


@pytest.fixture(scope="module")
def stable(demo_folder: Path) -> Report:
    """The demo's report, with concepts that come back and are alike."""
    report = gather_report(RunFolder.open(demo_folder / "runs" / "demo"), Choices(0))
    first, second, *others = report.concepts
    alike = replace(first, same_words=(second.index,), points_with=(second.index,), fires_with=(second.index,))
    concepts = [
        StableConcept.model_construct(index=concept.index, comes_back=0.5, same_texts=0.75, meetings=[None] * 4)
        for concept in report.concepts
    ]
    share = SimpleNamespace(mean=0.5, every=0.25, mean_by_influence=0.5, every_by_influence=0.25)
    shares = dict.fromkeys(("both", "texts"), SimpleNamespace(measured=share, floor=share))
    stability = Stability.model_construct(other_seeds=[1, 2, 3, 4], matched_by="both", concepts=concepts, shares=shares)
    return replace(report, concepts=(alike, second, *others), stability=stability)


def test_what_is_alike_and_what_comes_back_is_in_the_files(stable: Report) -> None:
    found, first, second = tables(stable), *stable.concepts[:2]
    own = [(row["in"], row["other"]) for row in found["alike"] if row["concept"] == first.index]
    others = [(way, second.index) for way in ("same direction", "same texts", "same words")]
    assert own == [*(("nearest direction", other) for other, _ in first.nearest), *others]
    row = found["concepts"][0]
    assert (row["comes_back"], row["comes_back_on_texts"], row["other_trainings"]) == (0.5, 0.75, 4)
    quarters = [row["adds"] for row in found["effect_by_activation"] if row["concept"] == first.index]
    assert quarters == list(first.by_strength)


def test_no_cell_is_a_formula_in_a_spreadsheet(run: Path) -> None:
    report = gather_report(RunFolder.open(run), Choices(0))
    object.__setattr__(report, "class_names", tuple(f"=1+{number}" for number in range(len(report.class_names))))
    (classes,) = [file for file in downloads(report) if file.file == "classes.csv"]
    content = base64.b64decode(classes.address.partition(",")[2]).decode()
    for file in downloads(report):
        header = base64.b64decode(file.address.partition(",")[2]).decode().splitlines()[0]
        assert file.file.endswith(".json") or (not header.startswith("=") and ",=" not in header and '"=' not in header)
    assert [row["class"] for row in csv.DictReader(io.StringIO(content))] == [f"'{name}" for name in report.class_names]


def test_a_wrong_column_is_refused_from_python_too(run: Path) -> None:
    with pytest.raises(UserError, match="no column 'nothing'"):
        write_report(run, by=["nothing"])
