"""``evaluate --data OTHER``: the concepts of one data set on the texts of another, against numbers computed by hand."""

import itertools
import json
import math
import re
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jsonschema
import pytest
import torch
from safetensors.torch import load_file, save_file

from sae_lens_classif.checksums import read_json
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.evals.embeddings import embed_texts
from sae_lens_classif.hooks.batching import states_of_inputs
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hub import hub_is_reachable
from tests.tiny_run import (
    Ended,
    Snapshot,
    Tiny,
    assert_refused_at_once,
    change_sae,
    cli,
    contents,
    make_tiny,
    snapshot,
    write_csv,
)

_K, _N = 4, 6  # of the tiny SAE
_ALL = ("--evaluate.evals", "[completeness, causality, interpretability]")
_MEASURES = (
    "concept_sim",
    "dataset_mean_cosine",
    "mean_activation_rate",
    "max_activation_rate",
    "recovery_accuracy",
    "recovery_floor",
    "recovery_ceiling",
    "scaled_recovery",
    "worst_class_recovery",
    "unexplained_texts",
    "conditional_tvd",
    "median_tvd",
    "influence",
    "conditional_label_flip_rate",
)
_SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
_OTHER_THAN_TRANSFER = ("*.*", "saes/**/*", "evals/**/*", "activations/**/*", "figures/**/*", "sweep/**/*")


class Trained(NamedTuple):
    """A run with a trained SAE, two other data sets, and what was in the run before any was looked at.

    Attributes:
        tiny: Where all is.
        run: The run.
        texts: The 60 texts of ``other/set``, which are shorter than the run's.
        before: The files of the run.
    """

    tiny: Tiny
    run: Path
    texts: tuple[str, ...]
    before: Snapshot

    @property
    def other(self) -> Path:
        """The folder of the other data sets."""
        return self.tiny.folder / "other"


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, classifier_folder: Path, train_data: TextData, test_data: TextData
) -> Trained:
    tiny = make_tiny(tmp_path_factory.mktemp("transfer") / "tiny", classifier_folder, train_data, test_data)
    tiny.command("run", "run", *_ALL, "--sae.recipe", "reference")
    texts = tuple(" ".join(text.split()[:4]) for text in train_data.texts[:60])
    trained = Trained(tiny, tiny.run("run"), texts, snapshot(tiny.run("run"), *_OTHER_THAN_TRANSFER))
    write_csv(trained.other / "set" / "test.csv", texts, train_data.labels[:60].tolist())
    return trained


class Moved(NamedTuple):
    """What a transfer wrote and printed."""

    result: dict[str, Any]
    folder: Path
    shown: str


def _evaluate(run: Path, data: object, *options: object) -> Ended:
    return cli("evaluate", "--run", run, "--data", data, *options)


def _transfer(run: Path, data: object, away: str | None = None, *options: object) -> Moved:
    ended = _evaluate(run, data, *options)
    assert ended.code == 0, ended.stderr
    found = {path.parent: json.loads(path.read_text("utf-8")) for path in run.glob("transfer/*/transfer.json")}
    (folder,) = [path for path, result in found.items() if result["away"] == (away or str(data))]
    return Moved(found[folder], folder, ended.stdout)


@pytest.fixture(scope="module")
def moved(trained: Trained) -> Moved:
    return _transfer(trained.run, trained.other / "set")


# --- The numbers, by hand


def _by_hand(run: Path, texts: tuple[str, ...], classifier: TextClassifier) -> tuple[dict[str, float], list[float]]:
    """SPEC.md §2 and §4 without a line of what is tested, one text and one pair of texts after the other."""
    weights = load_file(run / "saes" / "classifsae" / "sae_weights.safetensors")
    states = states_of_inputs(classifier, classifier.inputs(texts), 512)
    concepts = torch.stack([_encode(hidden, weights) for hidden in states.hidden])
    embeddings = embed_texts(texts, "all-MiniLM-L6-v2").double()
    rates = [(column.abs() > 1e-6).double().mean().item() for column in concepts.T]

    def probabilities(rows: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        decoded = z @ weights["W_dec"][:_N] + weights["b_dec"]
        scale = states.hidden[rows].norm(dim=1) / (decoded.norm(dim=1) + 1e-9)
        return classifier.logits_from(decoded * scale[:, None]).double().softmax(dim=1)

    everything = probabilities(torch.arange(len(texts)), concepts)
    nothing = probabilities(torch.arange(len(texts)), torch.zeros_like(concepts))
    shifts, flips, of_all_concepts, over_all_texts = [], [], [0.0] * _N, 0.0
    for number in range(_N):
        rows = (concepts[:, number].abs() > 1e-8).nonzero()[:, 0]
        if len(rows):
            without = concepts[rows].clone()
            without[:, number] = 0
            changed = probabilities(rows, without)
            shifts.append(((changed - everything[rows]).abs().sum(dim=1) / 2).mean().item())
            of_all_concepts[number] = shifts[-1]
            over_all_texts += shifts[-1] * len(rows) / len(texts)
            flips.append((changed.argmax(dim=1) != everything[rows].argmax(dim=1)).double().mean().item())
    pairs = [_pairs(embeddings, _members(column.tolist())) for column in concepts.T]
    cosines = [cosine for own in pairs for cosine in own]
    said = states.logits.argmax(dim=1)
    agreed = everything.argmax(dim=1) == said
    shares = [
        (logits.argmax(dim=1) == said).double().mean().item()
        for logits in (everything, nothing, classifier.logits_from(states.hidden))
    ]
    of_all = _pairs(embeddings, list(range(len(texts))))
    return {
        "concept_sim": sum(cosines) / len(cosines),  # every pair counts once: weighted by number of pairs
        "dataset_mean_cosine": sum(of_all) / len(of_all),
        "mean_activation_rate": sum(rates) / _N,
        "max_activation_rate": max(rates),
        "recovery_accuracy": shares[0],
        "recovery_floor": shares[1],
        "recovery_ceiling": shares[2],
        "scaled_recovery": (shares[0] - shares[1]) / (shares[2] - shares[1]),
        "worst_class_recovery": min(agreed[said == number].double().mean().item() for number in said.unique().tolist()),
        "unexplained_texts": sum(not (row.abs() > 1e-6).any() for row in concepts) / len(texts),
        "conditional_tvd": sum(shifts) / len(shifts),
        "median_tvd": statistics.median(of_all_concepts),
        "influence": over_all_texts / _N,
        "conditional_label_flip_rate": sum(flips) / len(flips),
    }, rates


def _encode(hidden: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    before = hidden * math.sqrt(len(hidden)) / hidden.norm() @ weights["W_enc"] + weights["b_enc"]
    z = torch.zeros_like(before)
    for latent in before.argsort(descending=True)[:_K].tolist():
        z[latent] = max(0.0, before[latent].item())
    return z[:_N]


def _members(values: list[float]) -> list[int]:
    """Texts strictly above the break that leaves the least squares within the two classes."""

    def squares(part: list[float]) -> float:
        return sum((value - sum(part) / len(part)) ** 2 for value in part)

    breaks = sorted(set(values))[:-1]
    if not breaks:
        return []
    least = min(
        breaks,
        key=lambda limit: squares([v for v in values if v <= limit]) + squares([v for v in values if v > limit]),
    )
    return [row for row, value in enumerate(values) if value > least]


def _pairs(embeddings: torch.Tensor, rows: list[int]) -> list[float]:
    return [
        torch.nn.functional.cosine_similarity(embeddings[one], embeddings[other], dim=0).item()
        for one, other in itertools.combinations(rows, 2)
    ]


def test_the_numbers_of_both_data_sets_are_those_computed_by_hand(
    trained: Trained, moved: Moved, classifier: TextClassifier, test_data: TextData
) -> None:
    for side, texts in (("here", test_data.texts), ("there", trained.texts)):
        expected, rates = _by_hand(trained.run, texts, classifier)
        assert moved.result[f"rates_{side}"] == pytest.approx(rates, abs=1e-9), side
        for measure in _MEASURES:
            assert moved.result[side][measure] == pytest.approx(expected[measure], rel=1e-5, abs=1e-6), measure
    assert moved.result["here"] != moved.result["there"]
    assert moved.result["n_texts"] == [90, 60]
    found = tuple(name for name in moved.result["here"] if not name.endswith("_ci95"))
    place = _MEASURES.index("influence") + 1
    before, after = _MEASURES[:place], _MEASURES[place:]
    own_tests = "influence_over_chance", "sufficiency", "necessity"  # by hand, elsewhere
    assert found == (*before, own_tests[0], *after, *own_tests[1:])


def test_the_run_s_own_side_is_what_its_summary_says_with_the_same_intervals(trained: Trained, moved: Moved) -> None:
    entry = read_json(trained.run / "summary.json")["methods"]["classifsae"]
    for measure in _MEASURES:
        if measure != "dataset_mean_cosine":
            assert moved.result["here"][measure] == pytest.approx(entry[measure], rel=1e-6), measure
            assert moved.result["here"][f"{measure}_ci95"] == pytest.approx(entry[f"{measure}_ci95"], rel=1e-6)
            low, high = moved.result["there"][f"{measure}_ci95"]
            assert low <= high


def test_the_table_and_the_screen_show_both_and_the_change(trained: Trained, moved: Moved) -> None:
    table = (moved.folder / "transfer.md").read_text(encoding="utf-8")
    own = str(trained.tiny.folder / "texts")
    assert own in table and str(trained.other / "set") in table
    here, there = (moved.result[side]["concept_sim"] for side in ("here", "there"))
    (low, high), (low_there, high_there) = (moved.result[side]["concept_sim_ci95"] for side in ("here", "there"))
    both = f"| {here:.3f} ({low:.3f} … {high:.3f}) | {there:.3f} ({low_there:.3f} … {high_there:.3f})"
    assert f"{both} | {there - here:.3f} |" in table
    here, there = (moved.result[side]["recovery_accuracy"] for side in ("here", "there"))
    pattern = rf"\| {100 * here:.1f} % \(.*\) \| {100 * there:.1f} % \(.*\) \| {100 * (there - here):.1f} % \|"
    assert re.search(pattern, table)
    for number, (rate, elsewhere) in enumerate(
        zip(moved.result["rates_here"], moved.result["rates_there"], strict=True)
    ):
        assert (
            f"| {number} | {100 * rate:.1f} % | {100 * elsewhere:.1f} % | {100 * (elsewhere - rate):.1f} % |" in table
        )
    assert f"{100 * here:.1f} %" in moved.shown and f"{100 * there:.1f} %" in moved.shown


def test_another_method_of_the_run_is_measured_beside_the_classif_sae(trained: Trained, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained.run, tmp_path / "run"))
    options = ("--config", trained.tiny.settings, "--compare.methods", "ica", *_ALL)
    assert cli("compare", "--run", run, *options).code == 0
    ended = _evaluate(run, trained.other / "set", "--method", "ica")
    assert ended.code == 0, ended.stderr
    (file,) = run.glob("transfer/*/transfer.ica.json")
    result = read_json(file)
    measured = read_json(run / "summary.json")["methods"]["ica"]
    assert result["here"]["recovery_accuracy"] == measured["recovery_accuracy"]
    assert result["away"] == str(trained.other / "set") and len(result["rates_there"]) == 6
    assert_refused_at_once(_evaluate(run, trained.other / "set", "--method", "ice"), "did you mean 'ica'?")


def test_each_concept_s_numbers_here_and_there_stand_beside_each_other(trained: Trained, moved: Moved) -> None:
    found = json.loads((moved.folder / "concepts.json").read_text("utf-8"))
    jsonschema.validate(found, json.loads((_SCHEMAS / "transfer_concepts.json").read_text("utf-8")))
    summary = read_json(trained.run / "summary.json")["methods"]["classifsae"]["concepts"]
    rates = list(zip(moved.result["rates_here"], moved.result["rates_there"], strict=True))
    assert [tuple(one["activation_rate"]) for one in found["concepts"]] == rates
    assert found["n_texts"] == [90, 60] and found["target"] == str(trained.other / "set")
    for known in summary:
        one = found["concepts"][known["index"]]
        assert (one["effect"][0], one["raises"][0]) == (pytest.approx(known["tvd"]), known["class_name"])
        assert one["key_words"][0][: len(known["key_words"])] == known["key_words"]
        here, there = (set(words) for words in one["key_words"])
        expected = len(here & there) / len(here | there) if here and there else None
        assert one["same_words"] == expected and max(len(here), len(there)) <= 10
    table = (moved.folder / "concepts.md").read_text("utf-8")
    assert table.startswith(f"Of the {len(summary)} concepts that fire") and table.count("\n| ") == _N + 1


def test_on_the_run_s_own_texts_nothing_changes(trained: Trained) -> None:
    moved = _transfer(trained.run, trained.tiny.folder / "texts")
    result, each = moved.result, json.loads((moved.folder / "concepts.json").read_text("utf-8"))
    for one in each["concepts"]:
        assert one["key_words"][0] == one["key_words"][1] and one["raises"][0] == one["raises"][1]
        assert one["same_words"] in (None, 1.0)
    for measure, value in result["here"].items():
        assert result["there"][measure] == pytest.approx(value, rel=1e-5), measure
    assert result["rates_there"] == pytest.approx(result["rates_here"], abs=1e-9)


# --- What is left alone, what is reused


def test_the_run_s_own_results_and_settings_are_left_alone(trained: Trained, moved: Moved) -> None:
    assert snapshot(trained.run, *_OTHER_THAN_TRANSFER) == trained.before
    assert {path.name for path in trained.run.iterdir()} - {name.split("/")[0] for name in trained.before} == {
        "transfer",
        "embeddings",
    }


def test_a_second_call_reuses_the_hidden_states_and_writes_the_same(trained: Trained, moved: Moved) -> None:
    states = snapshot(moved.folder, "activations/**/*") | snapshot(trained.run, "embeddings/*")
    written = contents(snapshot(moved.folder, "transfer.*"))
    assert len(written) == 2
    again = _transfer(trained.run, trained.other / "set")
    assert snapshot(moved.folder, "activations/**/*") | snapshot(trained.run, "embeddings/*") == states
    assert contents(snapshot(moved.folder, "transfer.*")) == written
    assert again == moved


def test_no_text_is_in_any_result(trained: Trained, moved: Moved) -> None:
    written = "".join(
        path.read_text(encoding="utf-8") for path in moved.folder.rglob("*.*") if path.suffix != ".safetensors"
    )
    assert not [text for text in trained.texts if text in written]


# --- Which data set


def test_a_yaml_file_names_other_columns(trained: Trained, moved: Moved) -> None:
    labels = ["good", "bad", "so-so", "none"] * 15
    folder = write_csv(trained.other / "columns" / "test.csv", trained.texts, labels, ("review", "stars"))
    (trained.other / "columns.yaml").write_text(f"source: {folder}\ntext_column: review\nlabel_column: stars\n")
    found = _transfer(trained.run, trained.other / "columns.yaml", str(folder))
    assert found.result["there"] == moved.result["there"]
    ended = _evaluate(trained.run, folder)
    assert ended.code == 2
    assert "no column 'text'" in ended.stderr and "review" in ended.stderr and "data.text_column" in ended.stderr


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param([number % 5 for number in range(60)], id="five classes"),
        pytest.param([number % 2 for number in range(60)], id="two classes"),
        pytest.param(["weather", "animals", "war"] * 20, id="the same words for something else"),
    ],
)
def test_the_labels_of_the_other_data_set_play_no_part(
    trained: Trained, moved: Moved, labels: list[int] | list[str]
) -> None:
    folder = write_csv(trained.other / f"labels-{labels[1]}-{labels[2]}" / "test.csv", trained.texts, labels)
    found = _transfer(trained.run, folder)
    for name in ("here", "there", "rates_here", "rates_there", "n_texts"):
        assert found.result[name] == moved.result[name]


def test_folders_with_the_same_last_name_are_not_mixed_up(trained: Trained, moved: Moved) -> None:
    texts = trained.texts[:25]
    folder = write_csv(trained.other / "elsewhere" / "set" / "test.csv", texts, [0, 1, 2, 0, 1] * 5)
    first = contents(snapshot(moved.folder))
    found = _transfer(trained.run, folder)
    assert found.folder != moved.folder
    assert found.result["n_texts"] == [90, 25]
    assert contents(snapshot(moved.folder)) == first
    assert _transfer(trained.run, trained.other / "set").result == moved.result


def test_parts_of_one_data_set_are_not_mixed_up(trained: Trained, moved: Moved) -> None:
    source = write_csv(trained.other / "parts" / "test.csv", trained.texts, [0, 1, 2] * 20)
    write_csv(source / "late.csv", trained.texts[30:], [0, 1, 2] * 10)
    numbers = []
    for name, setting in (
        ("all", ""), ("late", "test: late"), ("few", "max_test_texts: 20"), ("short", "max_characters: 9")
    ):  # fmt: skip
        (trained.other / f"{name}.yaml").write_text(f"source: {source}\n{setting}\n")
        ended = _evaluate(trained.run, trained.other / f"{name}.yaml")
        assert ended.code == 0, ended.stderr
        results = [read_json(path) for path in trained.run.glob("transfer/*/transfer.json")]
        numbers = [result["n_texts"][1] for result in results if result["away"] == str(source)]
    assert sorted(numbers) == [20, 30, 60, 60]


def test_texts_that_were_changed_in_place_are_measured_anew(trained: Trained) -> None:
    folder = write_csv(trained.other / "changing" / "test.csv", trained.texts[:12], [0, 1] * 6)
    assert _evaluate(trained.run, folder).code == 0
    write_csv(trained.other / "changing" / "test.csv", trained.texts[12:20], [0, 1] * 4)
    ended = _evaluate(trained.run, folder)
    assert ended.code == 0, ended.stderr
    results = [read_json(path) for path in trained.run.glob("transfer/*/transfer.json")]
    assert 8 in [result["n_texts"][1] for result in results if result["away"] == str(folder)]


@pytest.mark.parametrize("name", [".", "..", "../", "../../set"])
def test_a_relative_path_writes_nowhere_but_below_transfer(
    trained: Trained, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(trained.run, tmp_path / "runs" / "run"))  # in its table the data set is called so
    before = snapshot(run, *_OTHER_THAN_TRANSFER)
    below = trained.other / "set" / "below"
    below.mkdir(exist_ok=True)
    monkeypatch.chdir({".": below.parent, "..": below, "../": below, "../../set": below}[name])
    ended = _evaluate(run, name)
    assert ended.code == 0, ended.stderr
    assert snapshot(run, *_OTHER_THAN_TRANSFER) == before
    assert not [path for path in run.glob("transfer/*") if path.name in ("activations", "transfer.json")]
    assert not (run.parent / "transfer").exists() and not (run / "transfer.json").exists()


def test_texts_of_any_kind_are_measured(trained: Trained) -> None:
    odd = ("x", "ö 中文 😀 \u202e", "word " * 500, "a\tb\nc", "<b>bold</b> [red]", "0", "same", "same")
    folder = write_csv(trained.other / "odd ö" / "test.csv", odd, [0, 1] * 4)
    found = _transfer(trained.run, folder)
    assert found.result["n_texts"] == [90, 8]
    assert all(0 <= rate <= 1 for rate in found.result["rates_there"])


@pytest.mark.parametrize("name", ["a [b]", "what?", "a*", "{x}", "100 %"])
def test_a_folder_s_name_may_hold_any_character(trained: Trained, moved: Moved, name: str) -> None:
    folder = write_csv(trained.other / name / "test.csv", trained.texts, [0, 1, 2] * 20)
    assert _transfer(trained.run, folder).result["there"] == moved.result["there"]


def test_concepts_that_never_fire_there_have_no_effect_there(trained: Trained, moved: Moved) -> None:
    run = trained.tiny.run("silent")
    shutil.copytree(trained.run, run, ignore=shutil.ignore_patterns("transfer"))
    change_sae(run, lambda sae: sae.b_enc[:_N].fill_(-1e6))
    found = _transfer(run, trained.other / "set")
    assert found.result["rates_there"] == [0.0] * _N
    assert found.result["there"]["conditional_tvd"] is None
    assert "–" in (found.folder / "transfer.md").read_text(encoding="utf-8")


def test_in_context_the_earlier_tokens_are_kept(trained: Trained, moved: Moved) -> None:
    run = trained.tiny.run("in_context")
    shutil.copytree(trained.run, run, ignore=shutil.ignore_patterns("transfer"))
    found = _transfer(run, trained.other / "set", None, "--evaluate.context", "in_context")
    assert len(found.result["settings_sha256"]) == 64
    assert found.result["settings_sha256"] != moved.result["settings_sha256"]
    for side in ("here", "there"):
        assert found.result[side]["conditional_tvd"] != moved.result[side]["conditional_tvd"]
        assert found.result[side]["concept_sim"] == moved.result[side]["concept_sim"]


# --- What is refused


def _assert_refused(ended: Ended, *words: str) -> None:
    assert (ended.code, ended.stdout) == (2, ""), ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("error: ") and [word for word in words if word not in last] == [], last


def test_a_run_without_a_trained_sae_is_told_so(trained: Trained, tmp_path: Path) -> None:
    _assert_refused(_evaluate(tmp_path / "new", trained.other / "set"), "no trained SAE", "`train`")


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    hub_is_reachable.cache_clear()
    yield
    hub_is_reachable.cache_clear()


@pytest.mark.usefixtures("_no_network")
def test_a_name_on_the_hub_without_a_network_is_told_so(trained: Trained) -> None:
    _assert_refused(_evaluate(trained.run, "nobody/nothing"), "nobody/nothing", "Hub cannot be reached")


def test_a_single_file_is_measured_whole(trained: Trained, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained.run, tmp_path / "run"))
    ended = _evaluate(run, trained.other / "set" / "test.csv")
    assert ended.code == 0, ended.stderr
    (found,) = run.glob("transfer/test*/transfer.json")
    assert read_json(found)["n_texts"] == [90, 60]


@pytest.mark.parametrize("name", ["missing", "missing.yaml"])
def test_a_folder_or_file_that_is_not_there_is_named(trained: Trained, name: str) -> None:
    _assert_refused(_evaluate(trained.run, trained.other / name), str(trained.other / name))


@pytest.mark.parametrize(
    ("rows", "word"), [([], "is empty"), ([("", 0), ("", 1)], "remove those rows"), (None, "holds no test")]
)
def test_a_data_set_without_texts_is_refused(
    trained: Trained, tmp_path: Path, rows: list[tuple[str, int]] | None, word: str
) -> None:
    (tmp_path / "empty").mkdir()
    if rows is not None:
        write_csv(tmp_path / "empty" / "test.csv", [text for text, _ in rows], [label for _, label in rows])
    _assert_refused(_evaluate(trained.run, tmp_path / "empty"), str(tmp_path / "empty"), word)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("source: FOLDER\ntext_colum: a\n", ("text_colum", "did you mean 'text_column'?")),
        ("source: FOLDER\nmax_test_texts: many\n", ("max_test_texts", "many")),
        ("source: FOLDER\nmax_test_texts: 0\n", ("data.max_test_texts is 0",)),
        ("a: [1\n", ("not valid YAML",)),
        ("- FOLDER\n", ("settings.yaml", "list")),
        ("FOLDER\n", ("settings.yaml", "str")),
        ("5\n", ("settings.yaml", "int")),
        ("source: null\n", ("source",)),
    ],
)
def test_a_yaml_file_that_holds_no_settings_of_data_is_refused(
    trained: Trained, tmp_path: Path, content: str, words: tuple[str, ...]
) -> None:
    (tmp_path / "settings.yaml").write_text(content.replace("FOLDER", str(trained.other / "set")))
    _assert_refused(_evaluate(trained.run, tmp_path / "settings.yaml"), *words)


@pytest.mark.parametrize("content", ["", "# only a remark\n", "text_column: text\n"])
def test_a_yaml_file_without_a_source_is_refused_and_not_taken_for_bbc_news(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    def read() -> NoReturn:
        raise AssertionError("nobody asked for bbc_news")

    monkeypatch.setattr("sae_lens_classif.data.texts.bbc_news_paragraphs", read)
    (tmp_path / "settings.yaml").write_text(content)
    _assert_refused(_evaluate(trained.run, tmp_path / "settings.yaml"), "settings.yaml", "source")


def test_a_folder_whose_name_ends_like_a_yaml_file_s_is_a_folder(trained: Trained, moved: Moved) -> None:
    shutil.copytree(trained.other / "set", trained.other / "set.yaml")
    assert _transfer(trained.run, trained.other / "set.yaml").result["there"] == moved.result["there"]


def test_after_the_run_s_own_texts_were_changed_nothing_is_compared(trained: Trained) -> None:
    """Their embeddings would be held against the hidden states of other texts."""
    run = trained.tiny.run("changed_texts")
    shutil.copytree(trained.run, run, ignore=shutil.ignore_patterns("transfer"))
    texts = trained.tiny.folder / "texts" / "test.csv"
    before = texts.read_bytes()
    lines = before.decode().splitlines()
    try:
        texts.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
        _assert_refused(_evaluate(run, trained.other / "set"), "other texts", "`cache`")
    finally:
        texts.write_bytes(before)


def test_after_the_classifier_was_changed_nothing_is_compared(
    trained: Trained, classifier_folder: Path, tmp_path: Path
) -> None:
    """The hidden states of the two data sets would be of two models."""
    model, run = tmp_path / "model", tmp_path / "run"
    shutil.copytree(classifier_folder, model)
    made = cli("run", "--config", trained.tiny.settings, "--run", run, "--classifier.model", model)
    assert made.code == 0, made.stderr
    weights = load_file(model / "model.safetensors")
    changed = {name: value * 1.01 for name, value in weights.items()}
    save_file(changed, model / "model.safetensors", metadata={"format": "pt"})
    _assert_refused(_evaluate(run, trained.other / "set"), "another model", "`cache`")


def test_only_evaluate_knows_other_data(trained: Trained) -> None:
    ended = cli("train", "--run", trained.run, "--data", trained.other / "set")
    assert ended.code == 2 and ended.stderr.count("\n") == 1
