"""A run as one object: what it opens is what its folder holds, and what it shows is short and escaped."""

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import datasets
import numpy as np
import pandas as pd
import pytest
import torch

import sae_lens_classif as slc
from sae_lens_classif.checksums import read_json
from sae_lens_classif.runs import score_file
from sae_lens_classif.runs.folder import RunFolder
from sae_lens_classif.runs.open_run import Run
from sae_lens_classif.runs.run_method import load_trained
from tests.fakes.hub_server import HubServer
from tests.tiny_run import cli


@pytest.fixture(scope="module")
def folder(demo_folder: Path) -> Path:
    return demo_folder / "runs" / "demo"


@pytest.fixture
def run(folder: Path) -> Run:
    return slc.open_run(folder)


def summary(folder: Path) -> Any:
    return read_json(folder / "summary.json")


def test_a_run_opens_what_its_folder_holds(run: Run, folder: Path) -> None:
    assert run.folder == folder and run.cfg.data.source == "bbc_news"
    assert run.classifier.class_names == run.states().class_names == run.texts().class_names
    assert len(run.states("train")) == 600 and len(run.texts()) == 150
    assert isinstance(run.sae, slc.ClassifSAE)
    parts = {"classifier", "sae", "states", "texts", "evaluation", "concepts", "comparison", "sweep", "mistakes"}
    assert parts | {"activations", "score", "explain", "name"} <= set(dir(run)), "tab completion finds them"
    entry = summary(folder)["methods"]["classifsae"]
    assert run.evaluation.metrics["recovery_accuracy"] == entry["recovery_accuracy"]
    assert list(run.evaluation.warnings) == entry["warnings"] and run.evaluation.effects is not None
    assert list(run.concepts) == [concept["index"] for concept in entry["concepts"]]


def test_a_concept_has_its_texts_and_effects(run: Run, folder: Path) -> None:
    entry = summary(folder)["methods"]["classifsae"]["concepts"][0]
    concept = run.concepts[entry["index"]]
    assert concept.top_texts == tuple(run.texts().texts[row] for row in entry["top_texts"])
    assert (concept.class_name, concept.tvd) == (entry["class_name"], entry["tvd"])
    assert max(concept.effects, key=concept.effects.__getitem__) == concept.class_name
    assert {"tvd", "top_texts", "key_words", "influence"} <= set(dir(concept)), "tab completion finds them"
    with pytest.raises(slc.UserError, match=r"no living concept 99; those that live: \d"):
        run.concepts[99]
    assert entry["index"] in run.concepts and 99 not in run.concepts and run.concepts.get(99) is None
    with pytest.raises(AttributeError):
        concept.nothing_of_the_kind  # noqa: B018  (asking is the test)


def test_tables_are_data_frames(run: Run, folder: Path) -> None:
    concepts = run.concepts.to_pandas()
    assert list(concepts.index) == list(run.concepts) and concepts["activation_rate"].between(0, 1).all()
    methods = run.comparison.to_pandas()
    assert set(methods.index) == set(read_json(folder / "comparison.json")["methods"])
    assert (methods["recovery_accuracy_low"] <= methods["recovery_accuracy"]).all()
    mistakes = run.mistakes.to_pandas()
    wrong = (run.states().read("predicted") != run.states().read("label")).nonzero()[:, 0].tolist()
    assert list(mistakes.index) == wrong and (mistakes["labelled"] != mistakes["decided"]).all()
    measures = run.evaluation.to_pandas()
    assert measures.loc["recovery_accuracy", "value"] == run.evaluation.metrics["recovery_accuracy"]
    assert measures.loc["recovery_accuracy", "low"] <= measures.loc["recovery_accuracy", "high"]


def test_nothing_is_computed_again_that_the_folder_holds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("this is known")

    for name in ("evals.embeddings.embed_texts", "runs.steps.embed_texts", "hooks.batching.states_of_inputs",
                 "evals.base.run_interventions", "evals.base.embed_texts", "runs.open_run.open_checked_classifier",
                 "store.caching.states_of_inputs"):  # fmt: skip
        monkeypatch.setattr(f"sae_lens_classif.{name}", refuse)
    opened = slc.open_run(folder)
    assert opened.evaluation.metrics["concept_sim"] is not None
    assert opened.concepts.to_pandas().shape[0] and opened.mistakes.to_pandas().shape[1]
    assert opened.comparison.to_pandas().shape[0] and len(opened.activations())
    for draw in (slc.plot.activation_rates, slc.plot.concept_map, slc.plot.word_clouds, slc.plot.ablation):
        draw(opened)


def test_activations_are_what_the_sae_gives(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found, sae = run.activations(), run.sae
    expected = sae.encode(run.states().read("hidden").float())[:, : sae.cfg.n_concepts].detach()
    np.testing.assert_array_equal(found.to_numpy(), expected.numpy())
    monkeypatch.setattr("sae_lens_classif.runs.open_run._DENSE_CELLS", 10)
    sparse = run.activations()
    assert all(isinstance(kind, pd.SparseDtype) for kind in sparse.dtypes)
    np.testing.assert_array_equal(sparse.to_numpy(), found.to_numpy())


def test_what_it_shows_is_short_and_escaped(run: Run) -> None:
    shown = [
        run, run.states(), run.texts(), run.classifier, run.sae, run.evaluation, run.concepts, run.comparison,
        run.mistakes, next(iter(run.concepts.values())), run.explain("the match <b>ended</b> in a draw"),
    ]  # fmt: skip
    for thing in shown:
        assert 10 < len(repr(thing)) < 400 and "\n" not in repr(thing) and "0x" not in repr(thing), repr(thing)
    for thing in (
        run,
        run.evaluation,
        run.concepts,
        run.comparison,
        run.mistakes,
        run.concepts[next(iter(run.concepts))],
    ):
        html = thing._repr_html_()
        assert html.startswith("<p>") and len(html) < 100_000
    evil = slc.open_run(run.folder)
    evil.texts().texts  # noqa: B018  (loaded)
    data = slc.TextData(("<script>x</script>",) * len(run.texts()), run.texts().labels, run.texts().class_names)
    evil._texts["test"] = data
    assert "<script>" not in evil.mistakes._repr_html_() and "&lt;script&gt;" in evil.mistakes._repr_html_()
    assert "<script>" not in evil.concepts[next(iter(evil.concepts))]._repr_html_()


def test_a_run_that_is_not_finished_says_what_is_missing(tmp_path: Path, demo_run: Path) -> None:
    with pytest.raises(slc.UserError, match="no run folder"):
        slc.open_run(tmp_path)
    (demo_run / "comparison.json").unlink()
    (demo_run / "summary.json").unlink()
    run = slc.open_run(demo_run)
    assert "comparison" not in repr(run) and "sae" in repr(run) and run._repr_html_()
    with pytest.raises(slc.UserError, match="run the step `evaluate` first"):
        run.evaluation  # noqa: B018  (asking is the test)
    with pytest.raises(slc.UserError, match=r"no comparison\.json"):
        run.comparison  # noqa: B018  (asking is the test)
    with pytest.raises(slc.UserError, match="valid: train, test"):
        run.states("dev")  # type: ignore[arg-type]


# --- new texts ---


@torch.no_grad()
def test_a_score_is_what_explain_says(run: Run, folder: Path) -> None:
    texts = ["the match ended in a draw", "the bank cut its rates", "a new phone was shown"]
    scored = run.score(texts)
    assert list(scored["text"]) == texts
    for text, row in zip(texts, scored.to_dict("records"), strict=True):
        explained = run.explain(text)
        names = explained.class_names
        assert row["predicted"] == names[explained.predicted]
        assert row["probability"] == pytest.approx(max(explained.probabilities), abs=1e-5)
        assert row["through_concepts"] == names[explained.class_through_concepts]
        assert [concept["concept"] for concept in row["concepts"]] == [concept.index for concept in explained.concepts]
        effects = [concept["effect"] for concept in row["concepts"]]
        assert effects == pytest.approx([concept.effect for concept in explained.concepts], abs=1e-5)
    column = pd.Series(texts, index=[7, 8, 9])
    assert list(run.score(column).index) == [7, 8, 9] and len(run.score([])) == 0
    assert len(run.score(texts[0])) == 1
    with pytest.raises(slc.UserError, match="text 1 is of type float"):
        run.score(["a text", float("nan")])
    method, _ = load_trained(RunFolder.open(folder))
    frame = pd.DataFrame({"text": texts, "id": range(3)}, index=[7, 8, 9])
    as_table = [
        frame,
        datasets.Dataset.from_pandas(frame),
        slc.TextData(tuple(texts), np.zeros(3, np.int64), ("a", "b")),
    ]
    for table in as_table:
        assert run.score(table).reset_index(drop=True).equals(scored), type(table)
        assert [found.text for found in run.explain(table)] == texts
    assert list(run.score(frame).index) == [7, 8, 9]
    for take in (run.score, run.explain):
        with pytest.raises(slc.UserError, match=r"no column 'text' in the texts; .*id"):
            take(frame[["id"]])
        for wrong in (3, {"text": texts}, b"bytes"):
            with pytest.raises(slc.UserError, match=r"are of type (int|dict|bytes); give a text, a list"):
                take(wrong)
    many = slc.score(method, run.classifier, (texts[0] for _ in range(2500)))
    assert len({found.probability for found in many}) <= 3, "however they are cut into batches"


def rows() -> list[dict[str, Any]]:
    return [{"id": number, "body": f"the match number {number}, said “Bob”\nand <b>won</b>"} for number in range(3)]


def as_frame(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        frame = pd.read_csv(path)
        return frame.assign(concepts=frame["concepts"].map(json.loads))
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_json(path, lines=True)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_files_are_scored_row_by_row_and_keep_their_columns(
    folder: Path, tmp_path: Path, suffix: str, run: Run
) -> None:
    frame, file = pd.DataFrame(rows()), tmp_path / f"in{suffix}"
    if suffix == ".jsonl":
        frame.to_json(file, orient="records", lines=True)
    elif suffix == ".csv":
        frame.to_csv(file, index=False)
    else:
        frame.to_parquet(file)
    expected = run.score(frame["body"])
    for out in (tmp_path / f"out{ending}" for ending in (".jsonl", ".csv", ".parquet")):
        done = cli("score", folder, file, "--out", out, "--text_column", "body")
        assert done.code == 0 and "3 texts" in done.stdout, done.stderr
        found = as_frame(out)
        assert list(map(int, found["id"])) == [0, 1, 2] and list(found["body"]) == list(frame["body"])
        assert list(found["predicted"]) == list(expected["predicted"])
        assert found["probability"].to_numpy() == pytest.approx(expected["probability"].to_numpy())
        for one, other in zip(found["concepts"], expected["concepts"], strict=True):
            assert [concept["concept"] for concept in one] == [concept["concept"] for concept in other]


def test_standard_input_gives_json_lines(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('the match\n\n{"text": "the bank", "id": 7}\n'))
    done = cli("score", folder, "-")
    assert done.code == 0, done.stderr
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["text"] == "the match" and second["id"] == 7 and set(first) > {"predicted", "probability", "concepts"}


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("no.csv", None, (), "is no file"),
        ("texts.txt", "a", (), r"suffix '\.txt'"),
        ("empty.csv", "text\n", (), "holds no row"),
        ("texts.csv", "body\na\n", (), r"no 'text'.*body.*--text_column"),
        ("texts.jsonl", '{"text": "a"}\nnonsense\n', (), "line 2 of .* is no JSON"),
        ("texts.jsonl", "[1]\n", (), "no JSON object"),
        ("texts.jsonl", '{"text": 3}\n', (), "type int"),
        ("texts.jsonl", '{"text": "a", "predicted": "b"}\n', (), "column 'predicted' already"),
        ("texts.parquet", "nonsense", (), "cannot be read as parquet"),
        ("texts.csv", b"text\n\xff\xfe\n", (), "UTF-8"),
        ("texts.csv", "text\na\n", ("--out", "out.txt"), "valid suffixes"),
        ("texts.csv", "text\na\n", ("--out", "/dev/null.csv/.."), "valid suffixes"),
    ],
)
def test_files_that_cannot_be_scored_are_refused_and_nothing_is_left(
    folder: Path, tmp_path: Path, name: str, content: str | bytes | None, options: tuple[str, ...], message: str
) -> None:
    file, out = tmp_path / name, tmp_path / "out.jsonl"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    ended = cli("score", folder, file, *(options or ("--out", out)))
    assert ended.code == 2, ended
    assert re.search(message, ended.stderr.splitlines()[-1]), ended.stderr
    assert "Traceback" not in ended.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {name}


def test_no_more_texts_are_read_than_are_scored_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sae_lens_classif.explaining.scoring.CHUNK", 3)
    pulled: list[int] = []
    texts = (pulled.append(number) or "the match" for number in range(10))  # type: ignore[func-returns-value]
    found = slc.score(run.method, run.classifier, texts)
    next(found)
    assert len(pulled) == 3
    assert len(list(found)) == 9 and len(pulled) == 10


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_no_more_rows_are_read_than_are_written_at_once(
    folder: Path, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_file, "CHUNK", 2)
    read, held = [0], list[int]()
    all_rows = score_file._rows

    def counted(*arguments: Any) -> Iterator[Any]:
        for row in all_rows(*arguments):
            read[0] += 1
            yield row

    def noted(*arguments: Any) -> Any:
        held.append(read[0])
        return slc.score(*arguments)

    monkeypatch.setattr(score_file, "_rows", counted)
    monkeypatch.setattr(score_file, "score", noted)
    frame = pd.DataFrame({"text": ["the match", "the bank", "a phone", "a film", "the vote"]})
    for source in (tmp_path / f"in{suffix}" for suffix in (".jsonl", ".csv", ".parquet")):
        read[0] = 0
        held.clear()
        if source.suffix == ".jsonl":
            frame.to_json(source, orient="records", lines=True)
        elif source.suffix == ".csv":
            frame.to_csv(source, index=False)
        else:
            frame.to_parquet(source)
        assert score_file.score_file(folder, source, tmp_path / f"out{ending}") == 5
        assert held == [2, 4, 5], "two are read, scored and written before the next two"


def test_a_csv_of_many_lines_is_read_as_python_reads_it(folder: Path, tmp_path: Path) -> None:
    with (tmp_path / "in.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text",), *[(f'a "quoted", text\nof two lines {number}',) for number in range(5)]])
    assert cli("score", folder, tmp_path / "in.csv", "--out", tmp_path / "out.csv").code == 0
    assert len(as_frame(tmp_path / "out.csv")) == 5


def test_a_data_frame_becomes_a_run_in_one_call(
    train_data: slc.TextData, classifier_folder: Path, tmp_path: Path
) -> None:
    names = [train_data.class_names[label] for label in train_data.labels]
    frame = pd.DataFrame({"tweet": train_data.texts, "about": names})
    settings = {
        "data.text_column": "tweet", "data.label_column": "about", "data.class_names": train_data.class_names,
        "classifier.model": str(classifier_folder), "train.total_samples": 6400, "train.batch_size": 32,
        "evaluate.n_bootstrap": 10, "evaluate.figures": False,
    }  # fmt: skip
    run = slc.make_run(tmp_path / "run", frame, settings=settings)
    assert len(run.texts()) == 48 and len(run.states("train")) == 192 and len(run.concepts) > 3
    assert run.evaluation.metrics["original_accuracy"] > 0.6
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.safetensors")}
    again = slc.make_run(tmp_path / "run", frame, settings=settings)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.safetensors")}
    assert before == after, "what is done is reused"
    assert again.evaluation.metrics == run.evaluation.metrics
    with pytest.raises(slc.UserError, match=r"no setting 'lr'; write section\.setting"):
        slc.make_run(tmp_path / "other", frame, settings={"lr": 1})
    with pytest.raises(slc.UserError, match="did you mean 'text_column'"):
        slc.make_run(tmp_path / "other", frame, settings={"data.text_colum": "tweet"})
    with pytest.raises(slc.UserError, match="there is no preset 'smal'; did you mean 'small'"):
        slc.make_run(tmp_path / "other", frame, preset="smal")


def test_data_of_the_hub_become_a_run_by_their_name(
    train_data: slc.TextData, test_data: slc.TextData, classifier_folder: Path, tmp_path: Path
) -> None:
    served = tmp_path / "hub" / "datasets" / "somebody" / "words"
    served.mkdir(parents=True)
    for split, data in (("train", train_data), ("test", test_data)):
        rows = {"text": list(data.texts), "label": data.labels.tolist()}
        pd.DataFrame(rows).to_csv(served / f"{split}.csv", index=False)
    settings = {
        "data.class_names": list(train_data.class_names), "classifier.model": str(classifier_folder),
        "train.total_samples": 640, "train.batch_size": 32, "evaluate.evals": ["completeness"],
        "evaluate.n_bootstrap": 2, "evaluate.figures": False,
    }  # fmt: skip
    code = (
        "import sae_lens_classif as slc\n"
        f"run = slc.make_run('run', 'somebody/words', settings={settings!r})\n"
        "print(len(run.texts('train')), len(run.texts()), run.cfg.data.source)"
    )
    with HubServer(tmp_path / "hub") as hub:
        environ = hub.environment(tmp_path / "home")
        command = [sys.executable, "-W", "ignore", "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(len(train_data)), str(len(test_data)), "somebody/words"]


def test_columns_that_change_are_kept_or_refused_and_never_changed_in_silence(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sae_lens_classif.runs.score_file.CHUNK", 2)

    def score_lines(out: str, *lines: dict[str, Any]) -> str:
        file = tmp_path / "in.jsonl"
        file.write_text("\n".join(json.dumps({"text": "the match", **line}) for line in lines), encoding="utf-8")
        return cli("score", folder, file, "--out", tmp_path / out).stderr.splitlines()[-1]

    for out in ("out.csv", "out.parquet"):
        score_lines(out, {"a": 1}, {"b": "x"}, {"a": 3, "b": None})
        found = as_frame(tmp_path / out)
        assert found["a"].dropna().tolist() == [1, 3] and found["b"].dropna().tolist() == ["x"]
        assert "the column 'c' comes up after" in score_lines(out, {"a": 1}, {"a": 2}, {"c": 3})
    assert "another type than" in score_lines("out.parquet", {"a": 1}, {"a": 2}, {"a": 1.5})
    assert "another type than" in score_lines("out.parquet", {"a": None}, {}, {"a": "x"})
    score_lines("out.jsonl", {"a": 1}, {"a": float("nan")}, {"c": 1.5})
    assert [json.loads(line).get("a") for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [1, None, None]
    frame = pd.DataFrame({"text": ["the match"] * 3, "a": [None, None, "x"]})
    frame.to_parquet(tmp_path / "in.parquet")
    assert cli("score", folder, tmp_path / "in.parquet", "--out", tmp_path / "out.parquet").code == 0
    assert as_frame(tmp_path / "out.parquet")["a"].tolist()[-1] == "x", "the types of a parquet file are known"
    (tmp_path / "long.csv").write_text(f"text\n{'word ' * 40_000}\n", encoding="utf-8")
    assert cli("score", folder, tmp_path / "long.csv", "--out", tmp_path / "out.csv").code == 0


def test_texts_that_are_not_the_run_s_are_refused(
    train_data: slc.TextData, classifier_folder: Path, tmp_path: Path
) -> None:
    names = [train_data.class_names[label] for label in train_data.labels]
    settings = {
        "data.class_names": train_data.class_names, "classifier.model": str(classifier_folder),
        "train.total_samples": 640, "train.batch_size": 32, "evaluate.evals": ["completeness"],
        "evaluate.n_bootstrap": 2, "evaluate.figures": False,
    }  # fmt: skip
    run = slc.make_run(tmp_path / "run", (train_data.texts, names), settings=settings)
    with pytest.raises(slc.UserError, match=r"data\.source"):
        slc.make_run(tmp_path / "run", (train_data.texts[::-1], names), settings=settings)
    assert slc.open_run(tmp_path / "run").texts().texts == run.texts().texts, "as before"
    frame = pd.read_parquet(run.cfg.data.source)
    frame.assign(text=frame["text"] + " more").to_parquet(run.cfg.data.source)
    with pytest.raises(slc.UserError, match="are others than those that"):
        slc.open_run(tmp_path / "run").texts()


# --- names ---


def test_a_name_is_shown_wherever_the_concept_is_and_goes_with_the_weights(demo_run: Path) -> None:
    run = slc.open_run(demo_run)
    index, default = next((number, concept.name) for number, concept in run.concepts.items())
    assert default and len(default.replace(",", "").split()) <= 5
    before = (demo_run / "summary.json").read_bytes()
    run.name(index, "  stock   market <b> ")
    assert run.concepts[index].name == slc.open_run(demo_run).concepts[index].name == "stock market <b>"
    assert (demo_run / "summary.json").read_bytes() == before, "what was measured stays as it is"
    assert "stock market <b>" in repr(run.concepts[index]) and "stock market" in repr(run.evaluation.concepts[0])
    row = run.concepts[index].top_texts[0]
    assert "stock market" in {concept.name.removesuffix(" <b>") for concept in run.explain(row).concepts}
    done = cli("explain", demo_run, row)
    assert "stock market" in done.stdout, done.stderr
    assert cli("report", demo_run, "--explained", "3").code == 0
    page = (demo_run / "report.html").read_text(encoding="utf-8")
    assert f"concept {index}</a> (<bdi>stock market &lt;b&gt;</bdi>)" in page and "stock market <b>" not in page
    _assert_named_in_tables(run, index, demo_run)
    assert cli("publish", demo_run, "me/mine", "--dry-run").code == 0
    assert "stock market" in (demo_run / "hub" / "README.md").read_text(encoding="utf-8")
    weights = demo_run / "saes" / "classifsae" / "sae_weights.safetensors"
    kept = read_json(demo_run / "names.json")
    kept["classifsae"]["weights"] = "0" * 64
    (demo_run / "names.json").write_text(json.dumps(kept))
    assert weights.is_file() and slc.open_run(demo_run).concepts[index].name == default, "a name of other weights"


def _assert_named_in_tables(run: Run, index: int, folder: Path) -> None:
    text, name = run.concepts[index].top_texts[0], "stock market <b>"
    named = {concept["concept"]: concept["name"] for concept in run.score(text)["concepts"][0]}
    assert named[index] == name and {*named.values()} <= {name, ""}
    (folder.parent / "in.csv").write_text('text\n"' + text.replace('"', '""') + '"\n', encoding="utf-8")
    for out in (folder.parent / f"out{suffix}" for suffix in (".jsonl", ".csv", ".parquet")):
        assert cli("score", folder, folder.parent / "in.csv", "--out", out).code == 0
        assert {concept["concept"]: concept["name"] for concept in as_frame(out)["concepts"][0]} == named
    mistakes = run.mistakes.to_pandas()
    known = mistakes["misled_by"].dropna()
    assert [run.concepts[number].name for number in known] == mistakes["misled_by_name"].dropna().tolist()
    columns = list(run.activations(named=True))
    assert columns == [f"{index} {name}" if number == index else str(number) for number in range(len(columns))]
    titles = [axes.get_title() for axes in slc.plot.word_clouds(run)]
    assert titles[index] == f"{index} {name} · {run.concepts[index].class_name}"
    assert cli("evaluate", "--run", folder).code == 0
    drawn = (folder / "figures" / "classifsae" / "word_clouds.svg").read_text(encoding="utf-8")
    assert f"{index} stock market" in drawn


def test_names_are_given_on_the_command_line_and_taken_back(demo_run: Path) -> None:
    index = next(iter(slc.open_run(demo_run).concepts))
    default = slc.open_run(demo_run).concepts[index].name
    done = cli("name", demo_run, index, "the press")
    assert done.code == 0 and "the press" in done.stdout, done.stderr
    assert slc.open_run(demo_run).concepts[index].name == "the press"
    assert cli("name", demo_run, index, "").code == 0 and slc.open_run(demo_run).concepts[index].name == default
    refused = cli("name", demo_run, 99, "nobody")
    assert refused.code == 2 and "no living concept 99" in refused.stderr
    assert "at most 80" in cli("name", demo_run, index, "x" * 81).stderr
    (demo_run / "names.json").write_text("[1]")
    assert "is not what `name` writes" in cli("name", demo_run, index, "the press").stderr
