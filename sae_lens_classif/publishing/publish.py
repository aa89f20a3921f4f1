"""Publish the concepts of a run on the Hugging Face Hub, or write what would be published into a folder."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # re-exported, but not by that name

from sae_lens_classif.audit.stable_concepts import read_stability
from sae_lens_classif.checksums import made_anew, read_json, write_json
from sae_lens_classif.errors import UserError
from sae_lens_classif.files import new_folder, write_text
from sae_lens_classif.methods.base import built_in_methods
from sae_lens_classif.publishing.model_card import LOCAL_MODEL, SAE_ID, TEXTS_FILE, TOPK_ID, CardFacts, model_card
from sae_lens_classif.publishing.upload import upload
from sae_lens_classif.reading import inside
from sae_lens_classif.runs.folder import METHOD, SETTINGS_FILE, RunFolder, opened_to_write
from sae_lens_classif.runs.pictures import pictures
from sae_lens_classif.runs.results import read_comparison, read_measures, read_summary
from sae_lens_classif.runs.run_method import RunMethod, check_concepts, load_fitted, measured, step_of
from sae_lens_classif.runs.tables import write_comparison
from sae_lens_classif.saes.classif_sae import ClassifSAE
from sae_lens_classif.saes.export import export_topk
from sae_lens_classif.store.store import ActivationStore

# Picture, how the card calls it.
_ON_CARD = {"concept_map": "Hidden states and the directions of the concepts", "word_clouds": "Words of each concept"}


def publish(
    run: str | Path,
    repo_id: str,
    *,
    method: str = METHOD,
    license: str | None = None,
    private: bool = False,
    with_texts: bool = False,
    dry_run: bool = False,
) -> str:
    """Publish the concepts of a run, mostly its ClassifSAE, with evaluations, figures and a model card.

    The login is that of ``hf auth login`` or ``HF_TOKEN``. What was published stays in ``RUN/hub``. Publishing again
    replaces what is there; the Hub keeps what was there before in the repository's history, texts included.

    Args:
        run: The run folder, trained and evaluated.
        repo_id: ``owner/name`` on the Hub; made if it does not exist.
        method: Whose concepts: the run's ClassifSAE, or a method that ``compare`` fitted, with the first of its seeds.
        license: The Hub's identifier of the licence of what is published, such as ``apache-2.0``.
        private: Whether only its owners see the repository. Default: as the owner's account has it.
        with_texts: Whether the texts that activate each concept most are published too.
        dry_run: Only write ``RUN/hub``.

    Returns:
        Address of the repository; with ``dry_run`` the path of the folder.

    Raises:
        UserError: If the run is not trained and evaluated, ``repo_id`` is no name, the repository holds something
            else, or the Hub cannot be reached or refuses.
    """
    _check(repo_id, license)
    with opened_to_write(run, "publish") as files:
        if files.hub.is_file():
            raise UserError(f"{files.hub} is a file; what is published is written there: move it away")
        with new_folder(files.hub) as temporary:
            write_repository(temporary, files, repo_id, method=method, license=license, with_texts=with_texts)
        return str(files.hub) if dry_run else upload(files.hub, repo_id, private=private)


def write_repository(
    folder: Path, run: RunFolder, repo_id: str, *, method: str, license: str | None, with_texts: bool
) -> None:
    """Write what is published: the concepts, evaluations, figures, the model card.

    Args:
        folder: Empty.
        run: The run folder.
        repo_id: ``owner/name`` on the Hub.
        method: Whose concepts.
        license: Identifier of the licence.
        with_texts: Whether the texts that activate each concept most are written too.

    Raises:
        UserError: If the run is not trained and evaluated, or its texts are others by now.
    """
    of, summary = load_fitted(run, method), read_summary(run)
    entry = measured(run, of, summary)
    model, store = summary["hub_names"]["model"] or LOCAL_MODEL, ActivationStore(run.activations("test"))
    check_concepts(run, of, store, entry)
    _write_concepts(folder, run, of, model)
    _write_evaluations(folder / "evals" / of.name, of, entry, repo_id, model)
    if with_texts:
        _write_top_texts(folder / "evals" / TEXTS_FILE, run, store, entry)
    is_compared = _write_comparison(folder / "evals", run, of, entry, len(store))
    found = read_stability(run, of.name, entry["settings_sha256"])
    if found is not None:
        write_json(folder / "evals" / of.name / "stability.json", found.model_dump(mode="json"))
    _copy_figures(folder / "figures", run, of.name, entry, is_compared)
    facts = CardFacts(
        repo_id=repo_id,
        method=of.name,
        title=of.title,
        d_in=store.d_in,
        n_concepts=of.n_concepts(store),
        sae_cfg=read_json(folder / SAE_ID / "cfg.json") if of.name == METHOD else None,
        cfg=run.cfg,
        summary=summary,
        entry=entry,
        license=license,
        comparison=(folder / "evals" / "comparison.md").read_text(encoding="utf-8").strip() if is_compared else None,
        figures={
            title: f"figures/{of.name}/{name}.png"
            for name, title in _ON_CARD.items()
            if (folder / "figures" / of.name / f"{name}.png").is_file()
        },
        with_texts=with_texts,
        stability=found,
    )
    write_text(folder / "README.md", model_card(facts))


def _check(repo_id: str, license: str | None) -> None:
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(f"{repo_id!r} is no name of a repository: {error}") from error
    if "/" not in repo_id:
        raise UserError(f"{repo_id!r} has no owner; give owner/name, such as your-name/{repo_id}")
    if license is not None and not license.replace("-", "").replace(".", "").isalnum():
        raise UserError(
            f"{license!r} is no identifier of a licence; the Hub knows apache-2.0, mit, cc-by-4.0, other ..."
        )


def _write_concepts(folder: Path, run: RunFolder, of: RunMethod, model: str) -> None:
    """Write what the method learned, a ClassifSAE in both architectures, without this machine's paths."""
    sae = of.method.autoencoder()
    if sae is not None:
        sae.cfg.metadata["model_name"] = model
    if of.name != METHOD or not isinstance(sae, ClassifSAE):
        of.method.save(folder / of.name)
        return
    export_topk(sae, folder / TOPK_ID)
    sae.save_model(folder / SAE_ID)
    cfg = dict(sorted(sae.cfg.to_dict().items()))  # SAELens' order varies
    write_json(folder / SAE_ID / "cfg.json", cfg, with_checksum=False)
    note = inside(run.sae, SETTINGS_FILE)
    read_json(note, "train")  # or it was altered
    shutil.copyfile(note, folder / SAE_ID / SETTINGS_FILE)


def _write_evaluations(folder: Path, of: RunMethod, entry: Mapping[str, Any], repo_id: str, model: str) -> None:
    """Write the evaluations that were made with the settings of the summary, and the concepts.

    Args:
        folder: Where to.
        of: The method.
        entry: Its entry of the summary.
        repo_id: Stands for the run's name.
        model: What the language model is called.
    """
    for name in sorted(read_measures(of.evaluations, entry["settings_sha256"])):
        file = of.evaluations / f"{name}.json"
        result = read_json(file)
        result["sae_lens_release_id"] = repo_id
        try:
            if result["sae_cfg_dict"]:
                result["sae_cfg_dict"]["metadata"]["model_name"] = model
            result["eval_config"]["sentence_encoder"] = Path(result["eval_config"]["sentence_encoder"]).name
        except (LookupError, TypeError) as error:
            raise UserError(
                f"{file} does not hold the settings that it was made with ({type(error).__name__}: {error}); "
                f"{made_anew(step_of(of))}"
            ) from error
        write_json(folder / f"{name}.json", result)
    write_json(folder / "concepts.json", entry["concepts"])


def _write_top_texts(file: Path, run: RunFolder, store: ActivationStore, entry: Mapping[str, Any]) -> None:
    """Write the texts that activate each concept most.

    Raises:
        UserError: If the texts are not those that were evaluated.
    """
    data = run.texts("test")
    if data.fingerprint() != store.fingerprints.data:
        raise UserError(
            f"the test texts of {run.cfg.data.source} are not those that were evaluated any more; publish without "
            "texts, or run `cache` and `evaluate` again"
        )
    concepts = entry["concepts"]
    write_json(file, {str(concept["index"]): [data.texts[row] for row in concept["top_texts"]] for concept in concepts})


def _write_comparison(folder: Path, run: RunFolder, of: RunMethod, entry: Mapping[str, Any], n_test_texts: int) -> bool:
    """Write the run's comparison of the built-in methods, if it is of these concepts.

    Guests and methods of the user's own are left out: their names may be local paths.

    Returns:
        Whether there is one.
    """
    built_in = built_in_methods()
    compared = read_comparison(run, of.name, of.seed, entry["settings_sha256"])
    methods = [method for method in compared if method.name in built_in]
    if len(methods) < 2:
        return False
    write_comparison(folder, methods, n_test_texts)
    return True


def _copy_figures(folder: Path, run: RunFolder, method: str, entry: Mapping[str, Any], with_comparison: bool) -> None:
    """Copy the pictures that show the published concepts.

    Args:
        folder: Where to.
        run: The run folder.
        method: Name of their method.
        entry: Its entry of the summary.
        with_comparison: Whether those of the comparison belong to it.
    """
    step = "evaluate" if method == METHOD else "compare"
    drawn = pictures(run.figures / method, step, entry["settings_sha256"])
    compared = pictures(run.figures, "compare") if with_comparison else []
    for picture in [*drawn, *compared]:
        target = folder / picture.relative_to(run.figures)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, target)
