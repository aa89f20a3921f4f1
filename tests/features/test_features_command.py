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

from sae_lens_classif.checksums import read_json
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.features.store import FeatureStore
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
    assert table.startswith("Best in cross-validation") and table.count("\n| ") == len(study["rows"]) + 1
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


def test_a_run_without_a_classifier_asks_for_a_model(made: Tiny, tmp_path: Path) -> None:
    ended = cli("features", "--run", tmp_path / "new", "--data.source", made.folder / "texts",
                "--features.saes", made.folder / "topk")  # fmt: skip
    assert_refused_at_once(ended, "features.model is not set")
