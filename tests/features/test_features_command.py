"""``features`` from the command line: a table, a file with a schema, everything reused, mistakes in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import torch
from sae_lens import TopKSAE, TopKSAEConfig
from sae_lens.saes.sae import SAEMetadata

import sae_lens_classif as slc
from sae_lens_classif.checksums import read_json
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.features.store import FeatureStore
from sae_lens_classif.runs.features import model_and_sae
from sae_lens_classif.store.store import ActivationStore
from tests.fakes.models import write_model
from tests.publishing.test_hub import write_encoder
from tests.tiny_run import Tiny, assert_refused_at_once, cli, contents, make_tiny, snapshot

MakeOnce = Callable[[str, Callable[[Path], object]], Path]
SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "features.json"
_BEHIND = SCHEMA.with_name("behind.json")
HOOK = "blocks.2.hook_resid_pre"
_WRITTEN = ("study.*", "behind.json", "report.html")
_FAST = ("--features.poolings", "max,counts3", "--features.n_bootstrap", "50", "--features.n_features", "2")


@pytest.fixture(scope="module")
def made(make_once: MakeOnce, classifier_folder: Path, train_data: TextData, test_data: TextData) -> Tiny:
    """A run with a ClassifSAE, another SAE, and the features of both."""

    def make(folder: Path) -> None:
        tiny = make_tiny(folder, classifier_folder, train_data, test_data)
        tiny.command("run", "run")
        width = read_json(tiny.run("run") / "saes" / "classifsae" / "cfg.json")["d_in"]
        metadata = SAEMetadata(model_name="m", hook_name="blocks.0.hook_resid_post")
        torch.manual_seed(0)
        cfg = TopKSAEConfig(d_in=width, d_sae=48, k=4, dtype="float32", device="cpu", metadata=metadata)
        TopKSAE(cfg).save_model(folder / "topk")
        TopKSAE(TopKSAEConfig(d_in=width + 1, d_sae=48, k=4, device="cpu", metadata=metadata)).save_model(
            folder / "wide"
        )
        write_encoder(folder / "encoder")
        saes = f"{tiny.run('run')}/saes/classifsae,{folder}/topk"
        (folder / "shown.txt").write_text(tiny.command("features", "run", "--features.saes", saes, *_FAST))

    return Tiny(make_once("features", make))


def test_what_is_found_is_shown_and_written(made: Tiny) -> None:
    folder, shown = made.run("run") / "features", (made.folder / "shown.txt").read_text(encoding="utf-8")
    study = read_json(folder / "study.json")
    jsonschema.validate(json.loads((folder / "study.json").read_text()), json.loads(SCHEMA.read_text(encoding="utf-8")))
    best, baseline = study["rows"][study["best"]], study["rows"][study["best_baseline"]]
    assert not best["is_baseline"] and baseline["is_baseline"]
    assert best["cv_macro_f1"] == max(row["cv_macro_f1"] for row in study["rows"].values() if not row["is_baseline"])
    assert best["score"]["macro_f1"] > 0.6, "a concept a class, of a classifier that is right"
    sources = {row["features"].rpartition("/")[0] for row in study["rows"].values()}
    assert {f"untrained:{made.folder}/topk", f"hidden:{HOOK}", "hidden:blocks.0.hook_resid_post"} <= sources
    words = " ".join(shown.split())
    assert str(made.folder) not in shown.partition("Everything is in")[0], "folders by their last part on a screen"
    assert "Best in cross-validation on the training texts" in words and "words (TF-IDF)" in words
    table = (folder / "study.md").read_text(encoding="utf-8")
    assert table.startswith("Best in cross-validation")
    assert table.count("\n| ") == len(study["rows"]) + 2, "the heading, the rows, the classifier itself"
    for picture in ("heatmap.png", "heatmap.svg"):
        assert (folder / picture).stat().st_size > 10_000
    assert "240 training texts" in table


def test_the_features_of_both_splits_are_kept(made: Tiny) -> None:
    for split, n in (("train", 240), ("test", 90)):
        (folder,) = (made.run("run") / "features").glob(f"{split}-*")
        store = FeatureStore(folder)
        assert len(store) == n
        assert store.read(f"{made.run('run')}/saes/classifsae/max").shape == (n, 6)
        assert store.read(f"hidden:{HOOK}/max").shape[0] == n


def test_a_second_call_reads_what_is_there_and_another_sae_is_added_beside_it(made: Tiny) -> None:
    saes = f"{made.run('run')}/saes/classifsae,{made.folder}/topk"
    before = snapshot(made.run("run") / "features", "**/*.safetensors")
    written = contents(snapshot(made.run("run") / "features", *_WRITTEN))
    shown = made.command("features", "run", "--features.saes", saes, *_FAST)
    assert shown == (made.folder / "shown.txt").read_text(encoding="utf-8")
    assert snapshot(made.run("run") / "features", "**/*.safetensors") == before
    assert contents(snapshot(made.run("run") / "features", *_WRITTEN)) == written


def test_the_features_behind_each_class_are_written_named_and_found_again(
    made: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    shutil.copytree(made.run("run"), run)
    shutil.rmtree(run / "features")
    asked = ("features", "--run", run, "--features.saes", run / "saes" / "classifsae", *_FAST)
    assert cli(*asked).code == 0
    file, page = run / "features" / "behind.json", run / "features" / "report.html"
    behind = read_json(file)
    jsonschema.validate(json.loads(file.read_text(encoding="utf-8")), json.loads(_BEHIND.read_text(encoding="utf-8")))
    index = next(iter(behind["features"]))
    assert behind["class_names"] == ["animals", "weather", "money"] and behind["features"][index]["name"] == ""
    written = snapshot(run / "features", "behind.json", "fits/*")
    assert cli(*asked).code == 0 and snapshot(run / "features", "behind.json", "fits/*") == written
    assert cli("name", run, index, "a *name* <b>").code == 0
    assert cli(*asked).code == 0
    assert read_json(file)["features"][index]["name"] == "a *name* <b>"
    markdown = (run / "features" / "study.md").read_text(encoding="utf-8")
    assert rf"feature {index} (a \*name\* &lt;b&gt;)" in markdown
    assert "a *name* &lt;b&gt;" in page.read_text(encoding="utf-8")
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"animals", b"animal"))
    ended = cli(*asked)
    assert ended.code == 0 and "behind.json was altered" in caplog.text and file.read_bytes() == whole


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--features.saes", "[]"), ("features.saes is empty", "give an SAE")),
        (("--features.saes", "nowhere"), ("there is no folder 'nowhere'",)),
        (("--features.saes", "{folder}/topk,other=nowhere"), ("there is no folder 'nowhere'",)),
        (("--features.saes", "=nowhere"), ("features.saes has '=nowhere'", "write MODEL=SAE")),
        (("--features.saes", "{folder}/wide"), ("wide is of another model", "here they are")),
        (("--features.saes", "{folder}/topk", "--features.poolings", "median"), ("no pooling 'median'", "counts20")),
        (("--features.saes", "{folder}/topk", "--features.hidden", "blocks.9.hook_resid_pre"), ("has no hook",)),
        (("--features.saes", "{folder}/topk", "--features.n_features", "0"), ("features.n_features is 0",)),
        (("--features.saes", "{folder}/topk", "--features.classifier", "forest"), ("forest",)),
        (("--features.saes", "{folder}/topk", "--features.thresholds", "-1"), ("features.thresholds is -1",)),
    ],
)
def test_mistakes_are_told_in_one_line(made: Tiny, options: tuple[str, ...], words: tuple[str, ...]) -> None:
    ended = cli("features", "--run", made.run("run"), *(word.format(folder=made.folder) for word in options))
    last = ended.stderr.splitlines()[-1]  # the bar of loading the model may be before it
    assert ended.code == 2 and last.startswith("error: ") and "Traceback" not in ended.stderr
    assert [word for word in words if word not in last] == [], last


def test_the_classifier_itself_is_what_was_cached_of_it_and_sentence_embeddings_are_left_out(made: Tiny) -> None:
    study = read_json(made.run("run") / "features" / "study.json")
    store = ActivationStore(made.run("run") / "activations" / "test")
    right = (store.read("predicted") == store.read("label")).float().mean()
    assert study["ceiling"]["accuracy"] == pytest.approx(float(right)) and study["ceiling"]["difference"] is None
    assert "the classifier itself" not in study["rows"]
    shown = " ".join((made.folder / "shown.txt").read_text(encoding="utf-8").split())
    assert "(ceiling)" in shown
    assert not any(name.startswith("sentence") for name in study["rows"])


def test_a_run_without_cached_decisions_asks_its_classifier(
    made: Tiny, classifier_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Tiny(tmp_path)
    options = ("--config", made.settings, "--features.saes", made.folder / "topk", *_FAST)
    ended = cli("features", "--run", run.run("new"), *options)
    assert ended.code == 0, ended.stderr
    expected = ActivationStore(made.run("run") / "activations" / "test").read("predicted")
    assert (ActivationStore(run.run("new") / "activations" / "test").read("predicted") == expected).all()
    shutil.copytree(classifier_folder, tmp_path / "bare")
    (tmp_path / "bare" / "classifier.json").unlink()  # a language model that knows no classes
    bare = ("--classifier.model", tmp_path / "bare", "--prompt.label_word", "no such word {name}")
    ended = cli("features", "--run", run.run("bare"), *options, *bare)
    assert ended.code == 0, ended.stderr
    assert "the classifier itself is not in the table: " in caplog.text
    assert read_json(run.run("bare") / "features" / "study.json")["ceiling"] is None


def test_sentence_embeddings_are_one_more_baseline_and_made_once(made: Tiny, tmp_path: Path) -> None:
    run = Tiny(tmp_path)
    options = ("--config", made.settings, "--features.saes", made.folder / "topk", *_FAST,
               "--features.embeddings", made.folder / "encoder")  # fmt: skip
    assert cli("features", "--run", run.run("new"), *options).code == 0
    row = read_json(run.run("new") / "features" / "study.json")["rows"]["sentence embeddings (encoder)"]
    assert row["is_baseline"] and row["cv_macro_f1"] > 0.1 and row["source"] is None
    kept = snapshot(run.run("new") / "embeddings", "*")
    assert len(kept) == 2
    assert cli("features", "--run", run.run("new"), *options).code == 0
    assert snapshot(run.run("new") / "embeddings", "*") == kept
    ended = cli("features", "--run", run.run("new"), *options, "--features.embeddings", tmp_path / "nowhere")
    assert ended.code == 2 and "sentence encoder" in ended.stderr.splitlines()[-1]


def test_models_are_read_one_after_the_other_and_meet_in_one_table(made: Tiny, tmp_path: Path) -> None:
    model, run = tmp_path / "neox", Tiny(tmp_path)
    write_model(model, "GPTNeoX", "ForCausalLM")
    width = read_json(made.folder / "topk" / "cfg.json")["d_in"]
    assert width == 32, "as wide as the other model"
    saes = f"{model}={made.folder}/topk,{made.folder}/topk"
    options = ("--config", made.settings, "--features.saes", saes, *_FAST)
    shown = cli("features", "--run", run.run("new"), *options)
    assert shown.code == 0, shown.stderr
    study = read_json(run.run("new") / "features" / "study.json")
    models = {row["model"] for row in study["rows"].values()}
    assert models == {None, str(model), read_json(made.run("run") / "places.json")["classifier.model"]["named"]}
    assert f"{model}: {made.folder}/topk/max" in study["rows"]
    assert f"{model}: hidden:blocks.0.hook_resid_post/max" in study["rows"]
    assert len(list((run.run("new") / "features").glob("train-*"))) == 2, "each has features of its own"
    assert "by model: " in " ".join(shown.stdout.split())
    before = snapshot(run.run("new") / "features", "**/*.safetensors")
    assert cli("features", "--run", run.run("new"), *options).stdout == shown.stdout
    assert snapshot(run.run("new") / "features", "**/*.safetensors") == before
    alone = cli("features", "--run", run.run("new"), "--config", made.settings, *_FAST,
                "--features.saes", made.folder / "topk")  # fmt: skip
    assert alone.code == 0 and "neox" not in alone.stdout.partition("Everything is in")[0]


def test_an_entry_is_an_sae_or_a_model_and_its_sae(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("sae.k=4", "lr=1/model"):
        (tmp_path / folder).mkdir(parents=True)
    expected = {
        "folder": (None, "folder"),
        "gpt2-small-res-jb:blocks.8.hook_resid_pre": (None, "gpt2-small-res-jb:blocks.8.hook_resid_pre"),
        "sae.k=4": (None, "sae.k=4"),
        "gpt2=sae.k=4": ("gpt2", "sae.k=4"),
        "lr=1/model=sae.k=4": ("lr=1/model", "sae.k=4"),
        "org/name=release:sae": ("org/name", "release:sae"),
    }
    assert {entry: model_and_sae(entry) for entry in expected} == expected
    for entry in ("=sae", "model="):
        with pytest.raises(UserError, match="write MODEL=SAE"):
            model_and_sae(entry)


def test_a_run_without_a_classifier_asks_for_a_model(made: Tiny, tmp_path: Path) -> None:
    ended = cli("features", "--run", tmp_path / "new", "--data.source", made.folder / "texts",
                "--features.saes", made.folder / "topk")  # fmt: skip
    assert_refused_at_once(ended, "features.model is not set")


def test_from_python_it_is_the_same(made: Tiny, tmp_path: Path) -> None:
    options = {"features.model": str(made.folder / "none"), "features.saes": [str(made.folder / "topk")],
               "features.poolings": ["max"], "features.untrained": False, "features.n_bootstrap": 50}  # fmt: skip
    texts = [("rain and snow", "a"), ("a dog", "b"), ("the old storm", "a"), ("some cats", "b")] * 6
    data = {"train": [{"text": text, "label": label} for text, label in texts],
            "test": [{"text": f"{text} again", "label": label} for text, label in texts]}  # fmt: skip
    with pytest.raises(UserError, match="none' does not exist"):
        slc.study_features(tmp_path / "run", data, settings=options)
    write_model(tmp_path / "neox", "GPTNeoX", "ForCausalLM")
    found = slc.study_features(tmp_path / "run", data, settings=options | {"features.model": str(tmp_path / "neox")})
    assert isinstance(found, slc.Study) and found.n_texts == (24, 24) and found.ceiling is None
    assert found.best.startswith(f"{made.folder}/topk/max")
    assert slc.study_features(tmp_path / "run") == found, "the settings are noted in the run"
