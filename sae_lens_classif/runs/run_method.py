"""The concept methods of a run that are fitted and measured, for whoever shows or publishes their concepts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sae_lens_classif.artifacts import settings_that_matter
from sae_lens_classif.checksums import made_anew, sha256_of_file, sha256_of_json
from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.hooks.huggingface import pick_device
from sae_lens_classif.methods.base import METHOD_FILE, ConceptMethod, load_method
from sae_lens_classif.methods.classif_sae import ClassifSAEConcepts
from sae_lens_classif.methods.find import find_method
from sae_lens_classif.methods.listing import titles
from sae_lens_classif.runs.folder import METHOD, SETTINGS_FILE, RunFolder
from sae_lens_classif.saes.classif_sae import ClassifSAE
from sae_lens_classif.store.store import ActivationStore

_FORMAT = 7  # of what the evaluations write
FIT_FILE = "fit.json"  # written last, into the folder of a method that `compare` fitted


@dataclass(frozen=True)
class RunMethod:
    """A concept method of a run whose numbers stand in ``summary.json``.

    Attributes:
        name: Its name in the run folder.
        title: How tables call it.
        seed: The seed it was fitted with.
        method: The fitted method.
        weights: SHA-256 of what it learned.
        evaluations: Folder of its evaluations.
    """

    name: str
    title: str
    seed: int
    method: ConceptMethod
    weights: str
    evaluations: Path

    def n_concepts(self, store: ActivationStore) -> int:
        """How many concepts it has, those that are never active included.

        Args:
            store: Hidden states of some texts.
        """
        with torch.no_grad():
            return self.method.encode(store.read("hidden", 0, 1).float()).shape[1]


def load_fitted(run: RunFolder, name: str = METHOD) -> RunMethod:
    """The run's ClassifSAE, or another method that ``compare`` fitted, with the first of its seeds.

    Args:
        run: The run folder.
        name: As ``compare`` takes it, or as the tables have it.

    Raises:
        UserError: If it is not fitted yet, naming those that are.
    """
    known = titles()
    if name == METHOD:
        return RunMethod(name, known[name], run.cfg.train.seed, *load_trained(run), run.evaluations(name))
    seed = run.cfg.compare.seeds[0]
    fitted = sorted(note.parents[1].name for note in run.folder.glob(f"methods/*/seed-{seed}/{FIT_FILE}"))
    if ":" in name:  # as the user wrote it
        spec = find_method(name)
        found, title = spec.name, spec.title
    else:
        found, title = name, known.get(name, name)
    if found not in fitted:
        others = [METHOD, *(other for other in fitted if other != METHOD)]
        raise UserError(
            f"{run.folder} holds no concept method {name!r} of seed {seed}; {nearest(found, others)}; `compare` "
            "fits more"
        )
    folder = run.method(found, seed)
    weights = sha256_of_file(folder / METHOD_FILE)
    return RunMethod(found, title, seed, load_method(folder), weights, run.evaluations(found, seed))


def measured(run: RunFolder, method: RunMethod, summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """What ``summary.json`` holds of a method.

    Raises:
        UserError: If nothing was measured.
    """
    entry: Mapping[str, Any] | None = summary["methods"].get(method.name)
    if entry is None:
        raise UserError(f"{run.folder} holds no evaluation of {method.name}; run the step `{step_of(method)}` first")
    return entry


def step_of(method: RunMethod) -> str:
    """The step that measures a method."""
    return "evaluate" if method.name == METHOD else "compare"


def load_trained(run: RunFolder) -> tuple[ClassifSAEConcepts, str]:
    """The run's own ClassifSAE, and the SHA-256 of its weights.

    Raises:
        UserError: If it is not trained yet.
    """
    if not (run.sae / SETTINGS_FILE).is_file():
        raise UserError(f"{run.sae} holds no trained SAE; run the step `train` first")
    sae = ClassifSAE.load_from_disk(run.sae, device=str(pick_device(run.cfg.evaluate.device)))
    return ClassifSAEConcepts(sae), sha256_of_file(run.sae / "sae_weights.safetensors")


def evaluation_settings(run: RunFolder, weights: str, store: ActivationStore) -> str:
    """Fingerprint of everything that the measures of a method depend on.

    Args:
        run: The run folder.
        weights: SHA-256 of what the method learned.
        store: Hidden states of the test texts.
    """
    # What does not matter is null: so the first evaluations noted it.
    evaluate = {**dict.fromkeys(asdict(run.cfg.evaluate)), **settings_that_matter(run.cfg.evaluate)}
    return sha256_of_json({"format": _FORMAT, "evaluate": evaluate, "sae": weights, "store": store.fingerprint()})


def current_entry(
    run: RunFolder, of: RunMethod, store: ActivationStore, summary: Mapping[str, Any]
) -> Mapping[str, Any]:
    """What ``summary.json`` holds of a method, if it is of what the run folder holds now.

    Args:
        run: The run folder.
        of: The method.
        store: Hidden states of the test texts.
        summary: Content of ``summary.json``.

    Raises:
        UserError: If nothing was measured, or it was of another SAE, other texts or other settings.
    """
    entry = measured(run, of, summary)
    if entry["settings_sha256"] != evaluation_settings(run, of.weights, store):
        raise UserError(
            f"{run.summary} is of another SAE, other texts or settings than {run.folder} holds now, or of another "
            f"version of this package; run the step `{step_of(of)}` again"
        )
    check_concepts(run, of, store, entry)
    return entry


def check_concepts(run: RunFolder, of: RunMethod, store: ActivationStore, entry: Mapping[str, Any]) -> None:
    """Refuse concepts of ``summary.json`` that cannot be those of the run folder, as after a change by hand.

    Args:
        run: The run folder.
        of: The method.
        store: Hidden states of the test texts.
        entry: What ``summary.json`` holds of it.

    Raises:
        UserError: If one has a number, a text or a class that there is not.
    """
    n_concepts = of.n_concepts(store)
    for concept in entry["concepts"]:
        numbers = (concept["index"], *concept.get("fires_with", ()), *concept.get("points_with", ()))
        for what, found, there_are in (
            ("concept", numbers, range(n_concepts)),
            ("text", concept["top_texts"], range(len(store))),
            ("class", (concept["class_name"], concept["active_class_name"]), store.class_names),
        ):
            strange = next((one for one in found if one not in there_are), None)
            if strange is not None:
                raise UserError(
                    f"{run.summary} names the {what} {strange!r} of {of.name}, which {run.folder} does not hold; "
                    f"{made_anew(step_of(of))}"
                )
