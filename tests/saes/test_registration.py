"""Importing the package registers the architecture, whatever is imported first."""

import subprocess
import sys

import pytest

_CHECK = """
from sae_lens.registry import SAE_CLASS_REGISTRY, SAE_TRAINING_CLASS_REGISTRY
assert SAE_CLASS_REGISTRY["classifsae"][0].__name__ == "ClassifSAE"
assert SAE_TRAINING_CLASS_REGISTRY["classifsae"][0].__name__ == "ClassifTrainingSAE"
"""


@pytest.mark.parametrize(
    "first",
    [
        "import sae_lens_classif",
        *(
            pytest.param(first, marks=pytest.mark.slow)  # each is a process that imports SAELens
            for first in (
                "import sae_lens; import sae_lens_classif",
                "from sae_lens_classif.saes.classif_sae import ClassifSAE",
                "from sae_lens_classif.saes.classif_sae import ClassifTrainingSAE",
                "import sae_lens_classif; sae_lens_classif.ClassifSAE",
                "import sae_lens_classif.runs.steps, importlib; importlib.reload(sae_lens_classif)",
            )
        ),
    ],
)
def test_the_architecture_is_registered_after(first: str) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", first + _CHECK], check=True)


def test_importing_the_package_alone_does_not_import_torch() -> None:
    code = "import sys, sae_lens_classif; assert 'torch' not in sys.modules and 'sae_lens' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
