"""The public names are frozen, documented and all in the wheel."""

import importlib
import inspect
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import sae_lens_classif

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
    "EvaluateConfig",
    "Evaluation",
    "Explanation",
    "FinetuneConfig",
    "FitTask",
    "HIConcept",
    "ICAConcepts",
    "PromptConfig",
    "RandomDirections",
    "RunConfig",
    "SAEBenchAdapter",
    "SAEProbeConcepts",
    "SAESettings",
    "TextClassifier",
    "TextData",
    "TrainConfig",
    "UserError",
    "cache_states",
    "evaluate",
    "explain",
    "export_topk",
    "load_classifier",
    "load_config",
    "load_method",
    "load_text_data",
    "paper_disk_loader",
    "paper_huggingface_loader",
    "publish",
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
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = sae_lens_classif.nothing


def _modules() -> list[str]:
    names = []
    for folder, prefix in ((_ROOT / "sae_lens_classif", ""), (_ROOT / "hooks", "hooks."), (_ROOT / "evals", "evals.")):
        names += [f"sae_lens_classif.{prefix}{path.stem}" for path in folder.glob("*.py")]
    return sorted(name.removesuffix(".__init__") for name in names if not name.endswith("__main__"))


def test_every_module_has_a_docstring_and_stays_small() -> None:
    for name in _modules():
        module = importlib.import_module(name)
        assert module.__doc__, name
        assert len(inspect.getsource(module).splitlines()) <= 350, name


def test_the_wheel_holds_every_module_and_preset(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for folder in ("sae_lens_classif", "hooks", "evals"):
        shutil.copytree(_ROOT / folder, source / folder, symlinks=True)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(_ROOT / file, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    assert not (tmp_path / "site" / "hooks").exists() and not (tmp_path / "site" / "evals").exists()
    code = (
        f"import sys, importlib; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        f"for name in {_modules()!r}:\n"
        f"    assert importlib.import_module(name).__file__.startswith({str(tmp_path)!r}), name\n"
        "from sae_lens_classif.cli.parser import preset_names\n"
        "assert 'demo' in preset_names()"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize("folder", ["hooks", "evals"])
def test_the_folders_at_the_root_say_how_they_are_imported(folder: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert f"import sae_lens_classif.{folder}, not {folder}" in run.stderr
