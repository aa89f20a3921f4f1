"""README, constraints and `make` say the same of installing; the script behind `make` takes no gigabytes unasked."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_ROOT = Path(__file__).parents[2]
_FILES = ("constraints.txt", "constraints-lowest.txt")


def _pinned(file: str) -> dict[str, str]:
    """The version of each package, by its normalized name."""
    lines = (_ROOT / file).read_text(encoding="utf-8").splitlines()
    pins = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pins}


def _required() -> list[Requirement]:
    """What pyproject.toml asks for here, with all extras."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    asked = [Requirement(line) for line in lines]
    return [one for one in asked if one.name != project["name"] and (one.marker is None or one.marker.evaluate())]


@pytest.mark.parametrize("file", _FILES)
def test_the_constraints_hold_an_allowed_version_of_every_dependency(file: str) -> None:
    pinned = _pinned(file)
    missing = [str(one) for one in _required() if pinned.get(canonicalize_name(one.name), "none") not in one.specifier]
    assert missing == []


def test_the_readme_installs_the_torch_of_the_constraints() -> None:
    named = re.findall(r"torch==([\d.]+)", (_ROOT / "README.md").read_text(encoding="utf-8"))
    assert named == [_pinned("constraints.txt")["torch"]]


def test_the_readme_installs_as_make_does() -> None:
    readme, script, make = (
        (_ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "tools/install.sh", "Makefile")
    )
    (by_hand,) = re.findall(r"^uv pip install (.*)$", readme, re.MULTILINE)
    by_hand = by_hand.replace("-e ", "--editable ").replace("-c ", "--constraint ")
    (by_script,) = re.findall(r"uv pip install (.*?); then", script.replace("\\\n\t", ""))
    known = {"$venv/bin/python": "", "${TORCH_BACKEND:-auto}": "auto", "$constraints": "constraints.txt"}
    for variable, value in {**known, ".[$extra]": ".[demo]"}.items():
        by_script = by_script.replace(f'"{variable}"', value)
    asked = (set(map(tuple, _options(line))) for line in (by_hand, by_script))
    assert next(asked) == next(asked) - {("quiet",), ("python",)}
    (environment,) = re.findall(r"^uv venv (.*)$", readme, re.MULTILINE)
    assert environment == "--seed --python 3.11" and 'uv venv --quiet --seed --python "${PYTHON:-3.11}"' in script
    for name, constraints, extra in re.findall(r"tools/install\.sh (\S+) (\S+) (\S+)", make):
        assert (_ROOT / constraints).is_file() and extra in {"demo", "dev"}, name
    assert "tools/install.sh $(VENV) constraints.txt demo" in make


def _options(line: str) -> list[list[str]]:
    """Each option with its value, in a list of its own."""
    return [part.split() for part in shlex.join(shlex.split(line)).split("--") if part.strip()]


def _install(folder: Path, uv: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """The script in a folder without a package, where pip has no settings but these and the program uv is this text."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "uv").write_text(f"#!/bin/sh\n{uv}\n", encoding="utf-8")
    (programs / "uv").chmod(0o755)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    environ |= {"PATH": f"{programs}:/usr/bin:/bin", "PYTHON": sys.executable, "PIP_CONFIG_FILE": os.devnull} | settings
    command = ["/bin/sh", str(_ROOT / "tools" / "install.sh"), "env", "constraints.txt", "demo"]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


def test_uv_chooses_the_torch_for_this_machine_or_the_one_that_is_asked_for(tmp_path: Path) -> None:
    for backend, settings in (("auto", {}), ("cpu", {"TORCH_BACKEND": "cpu"})):
        folder = tmp_path / backend
        folder.mkdir()
        done = _install(folder, 'echo "uv $*"; [ "$1" = pip ] || "$PYTHON" -m venv --without-pip env', **settings)
        assert done.returncode == 0, done.stderr
        *_, call = done.stdout.splitlines()
        assert call.startswith("uv pip install ") and f" --torch-backend {backend} " in call and ".[demo]" in call


def test_where_uv_fails_pip_takes_no_gigabytes_from_pypi(tmp_path: Path) -> None:
    done = _install(tmp_path, "exit 2")
    assert done.returncode == 1 and "README" in done.stderr
    assert "with pip" not in done.stdout
    assert (tmp_path / "env" / "bin" / "python").exists()


def test_where_uv_fails_pip_goes_by_the_index_it_is_set_up_for(tmp_path: Path) -> None:
    done = _install(tmp_path, "exit 2", PIP_NO_INDEX="1")
    assert "now with pip" in done.stdout
    assert done.returncode != 0 and "constraints.txt" in done.stderr, "pip came to the file, which this folder lacks"
