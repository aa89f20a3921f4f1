"""Concept methods by what a user calls them: a registered name, any SAE, or a class of the user's own."""

import re
import sys
from dataclasses import is_dataclass, replace
from functools import partial
from pathlib import Path

from sae_lens_classif.checksums import sha256_of_file
from sae_lens_classif.config.methods import ProbeSettings
from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.methods.base import ConceptMethod, MethodSpec, built_in_methods, is_built_in, registered_method
from sae_lens_classif.methods.classif_sae import ClassifSAEConcepts
from sae_lens_classif.methods.listing import titles
from sae_lens_classif.methods.sae_probe import SOLVER, SAEProbeConcepts, check_fits, load_sae
from sae_lens_classif.plugins import module_of_the_user, names_code
from sae_lens_classif.saes.classif_sae import ClassifSAE


def find_method(name: str) -> MethodSpec:
    """Look a method up.

    Args:
        name: The name of a built-in method or of another package's entry point, ``sae:FOLDER``,
            ``sae:RELEASE:SAE_ID``, or ``module:Class``.

    Raises:
        UserError: If there is none of that name.
    """
    if name.startswith("sae:"):
        return _guest(name.removeprefix("sae:"))
    if names_code(name):
        return _class_of_the_user(name)
    spec = registered_method(name)
    if spec is None or not spec.title:
        raise UserError(
            f"there is no concept method {name!r}; {nearest(name, list(titles()))}; "
            "or sae:FOLDER, sae:RELEASE:SAE_ID, module:Class"
        )
    return spec if is_built_in(spec) else _of_this_text(spec)


def _of_this_text(spec: MethodSpec) -> MethodSpec:
    """A method that depends on the text of its module, too."""
    file = getattr(sys.modules.get(spec.kind.__module__), "__file__", None)
    if file is None:  # of a notebook, or of what was typed
        raise UserError(f"{spec.kind.__name__} is defined in no file; put it into one, so that a change is noticed")
    return replace(spec, source=sha256_of_file(Path(file)))


def _guest(source: str) -> MethodSpec:
    """Any SAE that SAELens loads; it is loaded at once, so that a wrong name costs no work."""
    sae = load_sae(source)
    folder = Path(source)
    checksum = "".join(sha256_of_file(path) for path in sorted(folder.glob("*")) if path.is_file()) or source
    label = f"{folder.resolve().parent.name}-{folder.resolve().name}" if folder.is_dir() else source
    guest = MethodSpec(
        "sae_" + re.sub(r"[^\w.-]+", "_", label),
        f"{sae.cfg.architecture()} SAE {label} + probe",
        SAEProbeConcepts,
        learn=partial(SAEProbeConcepts.from_sae, sae),
        check=partial(check_fits, sae),
        settings=ProbeSettings,
        trains_sae=False,
        source=f"{SOLVER}, {checksum}",
    )
    if isinstance(sae, ClassifSAE):  # it says itself which of its latents are the concepts
        method, n_concepts = ClassifSAEConcepts(sae), sae.cfg.n_concepts
        guest = replace(guest, title=f"ClassifSAE {label}", kind=ClassifSAEConcepts, settings=None)
        guest = replace(guest, source=checksum)
        return replace(guest, learn=lambda _: method, check=lambda d_in, _: check_fits(sae, d_in, n_concepts))
    return guest


def _class_of_the_user(name: str) -> MethodSpec:
    module_name, _, class_name = name.partition(":")
    built_in_methods()  # so that they have the first right to their names
    module = module_of_the_user(name, "concept method")
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, ConceptMethod)):
        methods = [key for key, value in vars(module).items() if _is_method(value, module_name)]
        raise UserError(f"{module_name} has no ConceptMethod {class_name!r}; {nearest(class_name, methods)}")
    spec = registered_method(found.name) if "name" in vars(found) else None
    if spec is None or is_built_in(spec):
        raise UserError(f'{name} has no name of its own; write class {class_name}(ConceptMethod, name="...")')
    if not is_dataclass(found):
        raise UserError(f"{name} is no dataclass; put @dataclass above it so that it can be saved")
    return _of_this_text(spec)


def _is_method(value: object, module_name: str) -> bool:
    return isinstance(value, type) and issubclass(value, ConceptMethod) and value.__module__ == module_name
