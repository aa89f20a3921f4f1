"""``features --transfer`` as a command: matrices with a schema and a picture, everything reused, mistakes told."""

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from sae_lens_classif.checksums import read_json
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.features.transfer import ALL_BUT
from tests.tiny_run import Tiny, cli, contents, make_tiny, snapshot

MakeOnce = Callable[[str, Callable[[Path], object]], Path]
SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
OTHER_NAMES = ("Tiere", "Wetter", "Geld")
_FAST = (
    "--features.poolings", "max", "--features.n_bootstrap", "50", "--features.shots", "6", "--features.n_draws", "2",
    "--features.untrained", "false",
)  # fmt: skip
_SHOWN = {"languages": "Trained on one language", "data": "Trained on one data set", "models": "is told by"}


def write_table(file: Path, data: TextData, names: Sequence[str]) -> None:
    """Texts with a language each, which says nothing of the class."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        (text, names[label], "en" if number // 3 % 2 else "de")
        for number, (text, label) in enumerate(zip(data.texts, data.labels.tolist(), strict=True))
    ]
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows([("text", "label", "lang"), *rows])


@pytest.fixture(scope="module")
def made(make_once: MakeOnce, classifier_folder: Path, train_data: TextData, test_data: TextData) -> Tiny:
    """A run with a ClassifSAE on texts of two languages, another data set, and all three transfers."""

    def make(folder: Path) -> None:
        tiny = make_tiny(folder, classifier_folder, train_data, test_data)
        for split, data in (("train", train_data), ("test", test_data)):
            write_table(folder / "tongues" / f"{split}.csv", data, train_data.class_names)
            write_table(folder / "others" / f"{split}.csv", data, OTHER_NAMES)
        tiny.command("run", "run", "--data.source", folder / "tongues")
        shutil.copytree(folder / "run", folder / "run2")
        for what in _SHOWN:
            (folder / f"{what}.txt").write_text(tiny.command("features", "run", *options(tiny, what)))

    return Tiny(make_once("transfer_of_features", make))


def options(tiny: Tiny, what: str) -> tuple[object, ...]:
    mapped = dict(zip(OTHER_NAMES, ("animals", "weather", "money"), strict=True))
    own = {
        "languages": (),
        "data": ("--features.data_sets", tiny.folder / "others", "--features.class_map", json.dumps(mapped)),
        "models": ("--features.decisions_of", f"{tiny.run('run')},{tiny.folder}/run2"),
    }
    source = ("--data.source", tiny.folder / "tongues", "--features.saes", tiny.run("run") / "saes" / "classifsae")
    return ("--transfer", what, *source, *_FAST, *own[what])


@pytest.mark.parametrize("what", _SHOWN)
def test_what_is_found_is_shown_written_and_drawn(made: Tiny, what: str) -> None:
    folder, shown = made.run("run") / "features", (made.folder / f"{what}.txt").read_text(encoding="utf-8")
    assert _SHOWN[what] in " ".join(shown.split())
    found = json.loads((folder / f"transfer_{what}.json").read_text(encoding="utf-8"))
    schema = "transfer_models" if what == "models" else "transfer_features"
    jsonschema.validate(found, json.loads((SCHEMAS / f"{schema}.json").read_text(encoding="utf-8")))
    assert _SHOWN[what] in (folder / f"transfer_{what}.md").read_text(encoding="utf-8")
    assert (folder / f"transfer_{what}.png").stat().st_size > 10_000
    assert (folder / "study.json").is_file()


def test_the_matrix_of_languages_has_every_pair(made: Tiny) -> None:
    found = read_json(made.run("run") / "features" / "transfer_languages.json")
    assert found["sources"] == found["targets"] == ["de", "en"]
    assert found["n_texts"] == {"de": [120, 45], "en": [120, 45]}
    for matrix in found["matrices"].values():
        assert {(one, two) for one, cells in matrix["cells"].items() for two in cells} > {("de", "en"), ("en", "de")}
    assert found["matrices"]["features"]["own"]["value"] > 0.45, "a third by chance"
    assert {one["source"] for one in found["few_shot"]} == {ALL_BUT, None}
    best = read_json(made.run("run") / "features" / "study.json")["best"]
    assert found["matrices"]["features"]["approach"] == best


def test_the_same_texts_under_other_class_names_are_a_data_set_that_all_carries_over_to(made: Tiny) -> None:
    found = read_json(made.run("run") / "features" / "transfer_data.json")
    assert found["sources"] == ["tongues", "others"]
    cells = found["matrices"]["features"]["cells"]
    values = {(one, two): cells[one][two]["macro_f1"]["value"] for one in found["sources"] for two in found["targets"]}
    assert len(values) == 4 and max(values.values()) - min(values.values()) < 1e-6
    assert found["n_texts"] == {"tongues": [240, 90], "others": [240, 90]} and found["n_duplicates"] == {}


def test_a_classifier_is_told_by_its_own_states_and_by_those_of_the_features(made: Tiny) -> None:
    found = read_json(made.run("run") / "features" / "transfer_models.json")
    assert set(found["classifiers"]) == {"the run's classifier", "run2"}, "the run itself once"
    cells = found["cells"]
    own = cells["state that run2 decides by"]["run2"]
    assert own["accuracy"] > 0.8
    assert cells["the commonest decision"]["run2"]["macro_f1"]["value"] < 0.5
    # Both are the same model.
    assert own == cells["state that the run's classifier decides by"]["the run's classifier"]
    assert {"SAE features of classifier", "hidden state of classifier", "concepts of run2"} < set(found["views"])
    assert found["classifiers"]["run2"] == ["animals", "weather", "money"]
    assert cells["SAE features of classifier"]["run2"]["difference"] is None


@pytest.mark.parametrize("what", _SHOWN)
def test_a_second_call_reads_what_is_there(made: Tiny, what: str) -> None:
    before = snapshot(made.run("run") / "features", "**/*.safetensors", "fits/*.json")
    written = contents(snapshot(made.run("run") / "features", f"transfer_{what}.*"))
    assert made.command("features", "run", *options(made, what)) == (made.folder / f"{what}.txt").read_text()
    assert snapshot(made.run("run") / "features", "**/*.safetensors", "fits/*.json") == before
    assert contents(snapshot(made.run("run") / "features", f"transfer_{what}.*")) == written


def test_other_settings_of_a_transfer_need_no_other_run(made: Tiny) -> None:
    name = read_json(made.run("run") / "features" / "study.json")["best"]
    asked = ("--features.approach", "hidden:blocks.2.hook_resid_pre/max", "--features.few_shot_from", "de")
    shown = made.command("features", "run", *options(made, "languages"), *asked)
    found = read_json(made.run("run") / "features" / "transfer_languages.json")
    assert found["matrices"]["features"]["approach"] == "hidden:blocks.2.hook_resid_pre/max"
    assert {one["source"] for one in found["few_shot"]} == {"de", None} and "Trained on one language" in shown
    back = ("--features.approach", name, "--features.few_shot_from", f"[{ALL_BUT}]")
    made.command("features", "run", *options(made, "languages"), *back)


@pytest.mark.parametrize(
    ("what", "more", "words"),
    [
        ("tongues", (), ("--transfer is 'tongues'", "languages, data, models")),
        ("languages", ("--features.language_column", "langue"), ("no column 'langue'", "did you mean 'lang'")),
        ("languages", ("--features.approach", "best"), ("features.approach is 'best'", "classifsae/max")),
        ("languages", ("--features.few_shot_from", "fr"), ("few_shot_from holds 'fr'", "de, en")),
        ("data", ("--features.data_sets", "[]"), ("features.data_sets is empty",)),
        ("data", ("--features.class_map", "{}"), ("class 'Geld'", "none of the run's (animals, weather, money)")),
        ("data", ("--features.data_sets", "{folder}/tongues"), ("names a data set twice, or the run's own",)),
        ("models", ("--features.decisions_of", "[]"), ("features.decisions_of is empty",)),
        ("models", ("--features.decisions_of", "{folder}/others"), ("others",)),
    ],
)
def test_mistakes_are_told_in_one_line(made: Tiny, what: str, more: tuple[str, ...], words: tuple[str, ...]) -> None:
    asked = options(made, what if what in _SHOWN else "languages")[2:]
    ended = cli("features", "--run", made.run("run"), "--config", made.settings, "--transfer", what, *asked,
                *(word.replace("{folder}", str(made.folder)) for word in more))  # fmt: skip
    last = ended.stderr.splitlines()[-1]
    assert ended.code == 2 and last.startswith("error: ") and "Traceback" not in ended.stderr, ended.stderr
    assert [word for word in words if word not in last] == [], last


def test_labels_of_another_data_set_are_the_runs_own_classes(made: Tiny) -> None:
    from sae_lens_classif.runs.transfer_features import _mapped

    data = TextData(("x", "y", "z"), np.array([2, 0, 1]), ("bad", "good", "so-so"))
    mapped = _mapped(data, ("good", "bad"), {"so-so": "bad"}, "there")
    assert mapped.labels.tolist() == [1, 1, 0] and mapped.class_names == ("good", "bad")
