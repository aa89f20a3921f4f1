"""A method of another package: one module and an entry point, and it is wherever methods are."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from sae_lens_classif import UserError, load_method
from sae_lens_classif.checksums import read_json
from sae_lens_classif.cli.parser import main
from sae_lens_classif.methods import base
from sae_lens_classif.methods.find import find_method
from tests.fakes.packages import install

_ROOT = Path(__file__).parents[2]
_PACKAGE = "coordinates_from_outside"
_NAME, _TITLE = "coordinates", "First coordinates"
_COMPARE = ("compare", "--compare.methods", f"classifsae,{_NAME}", "--evaluate.figures", "false")
_MODULE = '''
from dataclasses import dataclass
import torch
import sae_lens_classif as slc

@dataclass
class Settings:
    """How the coordinates are read.

    Args:
        factor: What they are multiplied by.
    """
    factor: float = 1.0

@dataclass
class Coordinates(
    slc.ConceptMethod, name="coordinates", title="First coordinates", settings=Settings, trains_sae=False
):
    n: int
    d_in: int
    factor: float

    @classmethod
    def check(cls, d_in, n_concepts):
        if n_concepts > d_in:
            raise slc.UserError(f"there are {d_in} coordinates, {n_concepts} were asked for")

    @classmethod
    def fit(cls, task):
        return cls(task.n_concepts, task.store.d_in, task.settings.factor)

    def encode(self, hidden):
        return hidden[:, : self.n] * self.factor

    def decode(self, concepts):
        return torch.nn.functional.pad(concepts / self.factor, (0, self.d_in - self.n))
'''


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder as a package manager fills it: a package of one module, and an entry point that names it."""
    modules = {f"{_PACKAGE}/__init__.py": "", f"{_PACKAGE}/method.py": _MODULE}
    points = {_NAME: f"{_PACKAGE}.method", "absent": "no_such_module_here"}
    return install(tmp_path / "outside", _PACKAGE, modules, "sae_lens_classif.methods", points)


@pytest.fixture
def installed(outside: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """That folder on the path of this process, which forgets the method afterwards."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(outside)
    with mock.patch.dict(base.REGISTRY):
        yield outside
    for name in [name for name in sys.modules if name.startswith(_PACKAGE)]:
        del sys.modules[name]


def _fit(run: Path) -> Any:
    return read_json(run / "methods" / _NAME / "seed-0" / "fit.json")


def _refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


_HELP = """
import sys
from sae_lens_classif.cli.parser import main
try:
    main(["compare", "--help"])
except SystemExit:
    print("imported:", *(name for name in ("torch", "sae_lens", "coordinates_from_outside") if name in sys.modules))
"""


def test_help_lists_it_beside_the_built_in_ones_and_imports_neither_it_nor_torch(outside: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(_ROOT), str(outside)))}
    command = [sys.executable, "-c", _HELP]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    text = " ".join(done.stdout.split())
    assert f"{_NAME} ({_TITLE})" in text
    assert "topk_sae (TopK SAE + probe)" in text and "permuted_labels (Permuted labels)" in text
    assert "absent (absent)" in text, "what its module declares is not known"
    assert text.endswith("imported:")


@pytest.mark.usefixtures("installed")
def test_it_is_compared_and_stands_in_tables_json_and_report(
    demo_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*_COMPARE, "--run", str(demo_run), "--compare.settings.coordinates.factor", "2"])
    assert _TITLE in capsys.readouterr().out
    row = read_json(demo_run / "comparison.json")["methods"][_NAME]
    assert row["title"] == _TITLE
    assert 0 <= row["estimates"]["recovery_accuracy"]["mean"] <= 1
    for table in ("comparison.md", "comparison.tex"):
        assert _TITLE in (demo_run / table).read_text(encoding="utf-8")
    fitted = load_method(demo_run / "methods" / _NAME / "seed-0")
    assert torch.equal(fitted.encode(torch.ones(1, 32)), torch.full((1, 20), 2.0))
    main(["report", str(demo_run), "--explained", "1"])
    page = (demo_run / "report.html").read_text(encoding="utf-8")
    assert _TITLE in page[page.index("<table") :]
    main(["report", str(demo_run), "--method", _NAME, "--explained", "1"])
    assert _TITLE in (demo_run / f"report.{_NAME}.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("installed")
def test_a_changed_setting_refuses_the_old_fit_and_makes_a_new_one_where_that_is_asked_for(
    demo_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (*_COMPARE, "--run", str(demo_run), "--evaluate.evals", "completeness")
    main(command)
    first = _fit(demo_run)
    main(command)
    assert _fit(demo_run) == first, "it was not fitted again"
    changed = ("--compare.settings.coordinates.factor", "3")
    assert "compare.settings.coordinates.factor" in _refusal(capsys, *command, *changed)
    assert _fit(demo_run) == first
    main([*command, *changed, "--overwrite"])
    assert _fit(demo_run)["made_from"]["settings"]["compare"] == {"settings": {_NAME: {"factor": 3.0}}}
    main(command)  # the folder knows its own settings
    assert _fit(demo_run)["made_from"]["settings"]["compare"] == {"settings": {_NAME: {"factor": 3.0}}}


def test_a_changed_module_refuses_the_old_fit(
    demo_run: Path, installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (*_COMPARE, "--run", str(demo_run), "--evaluate.evals", "completeness")
    main(command)
    with (installed / _PACKAGE / "method.py").open("a", encoding="utf-8") as module:
        module.write("# now otherwise\n")
    assert "source" in _refusal(capsys, *command)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("{coordinates: {factr: 2}}", "compare.settings.coordinates .*'factr'.*did you mean 'factor'"),
        ("{coordinates: {factor: many}}", "compare.settings.coordinates.*factor.*float.*many"),
        ("{coordinates: {factor: null}}", "compare.settings.coordinates.factor is null"),
        ("{classifsae: {k: 2}}", "compare.settings.classifsae.*k.*none"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_is_fitted(
    settings: str, words: str, demo_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = _refusal(capsys, *_COMPARE, "--run", str(demo_run), "--compare.settings", settings)
    assert re.search(words, line), line
    assert not (demo_run / "methods" / _NAME).exists()


@pytest.mark.usefixtures("installed")
def test_what_it_cannot_do_is_refused_by_its_own_check() -> None:
    find_method(_NAME).check(32, 32)
    with pytest.raises(UserError, match="32 coordinates, 33"):
        find_method(_NAME).check(32, 33)


@pytest.mark.usefixtures("installed")
def test_an_entry_point_that_cannot_be_loaded_is_named_and_does_not_concern_other_methods() -> None:
    assert find_method("ica").title == "ICA"
    with pytest.raises(UserError, match="absent = no_such_module_here cannot be loaded: ModuleNotFoundError"):
        find_method("absent")
    with pytest.raises(UserError, match=f"did you mean '{_NAME}'"):
        find_method("coordinate")


def test_an_entry_point_without_a_method_of_its_name_says_what_to_write(installed: Path) -> None:
    (installed / _PACKAGE / "method.py").write_text(_MODULE.replace(f'"{_NAME}"', '"others"'), encoding="utf-8")
    with pytest.raises(UserError, match=f"no method of that name.*name='{_NAME}'"):
        find_method(_NAME)
