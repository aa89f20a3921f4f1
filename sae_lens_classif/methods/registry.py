"""The concept methods that ``compare`` knows, by name."""

import importlib
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sae_lens_classif.artifacts import settings_that_matter
from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.files import sha256_of_file
from sae_lens_classif.methods.base import ConceptMethod, FitTask
from sae_lens_classif.methods.classif_sae import ClassifSAEConcepts, fit_classifier_only, fit_permuted_labels
from sae_lens_classif.methods.concept_shap import ConceptSHAP
from sae_lens_classif.methods.hi_concept import HIConcept
from sae_lens_classif.methods.ica import ICAConcepts
from sae_lens_classif.methods.random_directions import RandomDirections
from sae_lens_classif.methods.sae_probe import (
    SAEProbeConcepts,
    check_fits,
    fit_all_latents,
    fit_rate_only,
    load_sae,
)
from sae_lens_classif.saes.classif_sae import ClassifSAE

Check = Callable[[int, int], None]


@dataclass(frozen=True)
class MethodSpec:
    """A concept method as ``compare`` sees it.

    Attributes:
        name: Its name, also of its folder.
        title: How tables and figures call it.
        fit: Finds its concepts.
        trains_sae: Whether it depends on the settings ``sae`` and ``train``.
        baselines: Which settings of ``baselines`` it depends on; default: all.
        source: Anything else it depends on, such as the checksum of a guest SAE.
        check: Refuses hidden states of a width d_in, or a number of concepts, that it cannot do.
    """

    name: str
    title: str
    fit: Callable[[FitTask], ConceptMethod]
    trains_sae: bool = False
    baselines: tuple[str, ...] | None = None
    source: str = ""
    check: Check = lambda d_in, n_concepts: None

    def made_from(self, task: FitTask) -> dict[str, Any]:
        """Everything that the fitted method depends on, as JSON can hold it."""
        used = {name: value for name, value in asdict(task.baselines).items() if self._uses(name)}
        depends: dict[str, Any] = {"source": self.source, "baselines": used, "data_share": task.train.data_share}
        if self.trains_sae:
            depends["sae"] = asdict(task.sae)
            depends["train"] = settings_that_matter(task.train)
            del depends["train"]["seed"]  # the task's counts
        return {
            "store": task.store.fingerprint(),
            "method": self.name,
            "n_concepts": task.n_concepts,
            "seed": task.seed,
            "settings": depends,
        }

    def _uses(self, baseline: str) -> bool:
        return self.baselines is None or baseline in self.baselines


_PROBE = ("probe_max_texts", "probe_max_iter")
_VECTORS = ("epochs", "batch_size", "lr", "hidden_dim")
_BUILT_IN = (
    MethodSpec("classifsae", "ClassifSAE", ClassifSAEConcepts.fit, trains_sae=True, baselines=()),
    MethodSpec("topk_sae", "TopK SAE + probe", SAEProbeConcepts.fit, trains_sae=True, baselines=_PROBE),
    MethodSpec("classifier_only", "Classifier only", fit_classifier_only, trains_sae=True, baselines=()),
    MethodSpec("rate_only", "Rate only + probe", fit_rate_only, trains_sae=True, baselines=_PROBE),
    MethodSpec("all_latents", "All latents + probe", fit_all_latents, trains_sae=True, baselines=_PROBE),
    MethodSpec("ica", "ICA", ICAConcepts.fit, baselines=("ica_max_iter",)),
    MethodSpec("concept_shap", "ConceptSHAP", ConceptSHAP.fit, baselines=_VECTORS),
    MethodSpec("hi_concept", "HI-Concept", HIConcept.fit, baselines=_VECTORS),
    MethodSpec("random_directions", "Random directions", RandomDirections.fit, baselines=()),
    MethodSpec("permuted_labels", "Permuted labels", fit_permuted_labels, trains_sae=True, baselines=()),
)
BUILT_IN = {spec.name: spec for spec in _BUILT_IN}


def find_method(name: str) -> MethodSpec:
    """Look a method up.

    Args:
        name: A built-in name, ``sae:FOLDER``, ``sae:RELEASE:SAE_ID``, or ``module:Class``.

    Raises:
        UserError: If there is none of that name.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    if name.startswith("sae:"):
        return _guest(name.removeprefix("sae:"))
    if ":" in name:
        return _own_class(name)
    raise UserError(
        f"there is no concept method {name!r}; {nearest(name, list(BUILT_IN))}; "
        "or sae:FOLDER, sae:RELEASE:SAE_ID, module:Class"
    )


def _guest(source: str) -> MethodSpec:
    """Any SAE that SAELens loads; it is loaded at once, so that a wrong name costs no work."""
    sae = load_sae(source)
    folder = Path(source)
    files = sorted(folder.glob("*")) if folder.is_dir() else []
    checksum = "".join(sha256_of_file(path) for path in files if path.is_file()) or source
    label = f"{folder.resolve().parent.name}-{folder.resolve().name}" if folder.is_dir() else source
    name = "sae_" + re.sub(r"[^\w.-]+", "_", label)
    if isinstance(sae, ClassifSAE):  # it says itself which of its latents are the concepts
        own = ClassifSAEConcepts(sae)
        return MethodSpec(
            name,
            f"ClassifSAE {label}",
            lambda _: own,
            baselines=(),
            source=checksum,
            check=lambda d_in, _: check_fits(sae, d_in, sae.cfg.n_concepts),
        )
    return MethodSpec(
        name,
        f"{sae.cfg.architecture()} SAE {label} + probe",
        partial(SAEProbeConcepts.from_sae, sae),
        baselines=_PROBE,
        source=checksum,
        check=partial(check_fits, sae),
    )


def _own_class(name: str) -> MethodSpec:
    module_name, _, class_name = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module does
        raise UserError(
            f"the module of the concept method {name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    own = getattr(module, class_name, None)
    if not (isinstance(own, type) and issubclass(own, ConceptMethod)):
        found = [key for key, value in vars(module).items() if _is_method(value, module_name)]
        raise UserError(f"{module_name} has no ConceptMethod {class_name!r}; {nearest(class_name, found)}")
    if not vars(own).get("name") or own.name in BUILT_IN:
        raise UserError(f'{name} has no name of its own; write class {class_name}(ConceptMethod, name="...")')
    if not is_dataclass(own):
        raise UserError(f"{name} is no dataclass; put @dataclass above it so that it can be saved")
    file = Path(str(module.__file__))
    return MethodSpec(own.name, own.name, own.fit, trains_sae=True, source=sha256_of_file(file))


def _is_method(value: object, module_name: str) -> bool:
    return isinstance(value, type) and issubclass(value, ConceptMethod) and value.__module__ == module_name
