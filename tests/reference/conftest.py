"""Fixtures made by an independent implementation: the folder named by REFERENCE_DIR, else ../shared/reference."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

_DEFAULT = Path(__file__).parents[2].parent / "shared" / "reference"

Reference = tuple[Any, dict[str, torch.Tensor]]


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    folder = Path(os.environ.get("REFERENCE_DIR", _DEFAULT))
    if not folder.is_dir():
        pytest.skip(f"the reference fixtures are not at {folder}; set REFERENCE_DIR")
    return folder


@pytest.fixture(scope="session")
def reference(reference_dir: Path) -> Callable[[str], Reference]:
    """Settings (JSON) and tensors of one reference, those of numbers in float64: what is compared then is the
    formula, and not how single precision rounds on this machine."""

    def load(name: str) -> Reference:
        if not (reference_dir / f"{name}.json").is_file():
            pytest.skip(f"{reference_dir} has no {name}.json")
        tensors = load_file(reference_dir / f"{name}.safetensors")
        return (
            json.loads((reference_dir / f"{name}.json").read_text()),
            {key: value.double() if value.is_floating_point() else value for key, value in tensors.items()},
        )

    return load
