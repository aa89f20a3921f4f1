"""Publish a run's ClassifSAE on the Hugging Face Hub, or write what would be published into a folder."""

import shutil
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from sae_lens_classif.data import load_text_data
from sae_lens_classif.errors import UserError
from sae_lens_classif.export import export_topk
from sae_lens_classif.files import new_folder, read_json, write_json, write_text
from sae_lens_classif.model_card import SAE_ID, TOPK_ID, CardFacts, model_card, public_name
from sae_lens_classif.run_folder import METHOD, RunFolder
from sae_lens_classif.sae import ClassifSAE
from sae_lens_classif.uploading import upload

TEXTS_FILE = "top_texts.json"
_COMPARISON = ("comparison.json", "comparison.md")
# Picture, how it is called; those that the run has go into the card.
_ON_CARD = {"concept_map": "Hidden states and the directions of the concepts", "word_clouds": "Words of each concept"}


def publish(
    run: str | Path,
    repo_id: str,
    *,
    license: str | None = None,
    private: bool = False,
    with_texts: bool = False,
    dry_run: bool = False,
) -> str:
    """Publish the ClassifSAE of a run, its evaluations, figures and a model card.

    The login is that of ``hf auth login`` or ``HF_TOKEN``. What was published stays in ``RUN/hub``.

    Args:
        run: The run folder, trained and evaluated.
        repo_id: ``owner/name`` on the Hub; made if it does not exist.
        license: Identifier of the licence of what is published, such as ``apache-2.0``.
        private: Whether only its owners see the repository.
        with_texts: Whether the texts that activate each concept most are published too.
        dry_run: Only write ``RUN/hub``.

    Returns:
        Address of the repository; with ``dry_run`` the path of the folder.

    Raises:
        UserError: If the run is not trained and evaluated, ``repo_id`` is no name, the repository holds something
            else, or the Hub cannot be reached or refuses.
    """
    _check_name(repo_id)
    files = RunFolder.open(run)
    published = files.folder / "hub"
    with new_folder(published) as temporary:
        write_repository(temporary, files, repo_id, license=license, with_texts=with_texts)
    if dry_run:
        return str(published)
    return upload(published, repo_id, private=private)


def write_repository(folder: Path, run: RunFolder, repo_id: str, *, license: str | None, with_texts: bool) -> None:
    """Write what is published: both architectures, evaluations, figures, the model card.

    Args:
        folder: Empty.
        run: The run folder.
        repo_id: ``owner/name`` on the Hub.
        license: Identifier of the licence.
        with_texts: Whether the texts that activate each concept most are written too.

    Raises:
        UserError: If the run is not trained and evaluated.
    """
    if not (run.sae / "cfg.json").is_file():
        raise UserError(f"{run.sae} holds no trained SAE; run the steps `train` and `evaluate` first")
    summary = read_json(run.summary) if run.summary.is_file() else {"methods": {}}
    if METHOD not in summary["methods"]:
        raise UserError(f"{run.folder} holds no evaluation of {METHOD}; run the step `evaluate` first")
    _write_saes(folder, run)
    _write_evaluations(folder / "evals", run, summary["methods"][METHOD]["concepts"])
    if with_texts:
        _write_texts(folder / "evals" / TEXTS_FILE, run, summary["methods"][METHOD]["concepts"])
    for picture in sorted(run.figures.glob("*.png")) + sorted((run.figures / METHOD).glob("*.png")):
        target = folder / "figures" / picture.relative_to(run.figures)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, target)
    comparison = run.folder / "comparison.md"
    facts = CardFacts(
        repo_id=repo_id,
        cfg=run.cfg,
        summary=summary,
        sae_cfg=read_json(folder / SAE_ID / "cfg.json"),
        method=METHOD,
        license=license,
        comparison=comparison.read_text(encoding="utf-8") if comparison.is_file() else None,
        figures={
            title: f"figures/{METHOD}/{name}.png"
            for name, title in _ON_CARD.items()
            if (folder / "figures" / METHOD / f"{name}.png").is_file()
        },
        with_texts=with_texts,
    )
    write_text(folder / "README.md", model_card(facts))


def _check_name(repo_id: str) -> None:
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(f"{repo_id!r} is no name of a repository: {error}") from error
    if "/" not in repo_id:
        raise UserError(f"{repo_id!r} has no owner; give owner/name, such as your-name/{repo_id}")


def _write_saes(folder: Path, run: RunFolder) -> None:
    """Both architectures, without this machine's paths."""
    sae = ClassifSAE.load_from_disk(run.sae)
    metadata = sae.cfg.metadata
    metadata["model_name"] = public_name(metadata["model_name"] or "")
    export_topk(sae, folder / TOPK_ID)
    own = folder / SAE_ID
    sae.save_model(own)
    write_json(own / "cfg.json", dict(sorted(sae.cfg.to_dict().items())))  # SAELens' order is another every time
    shutil.copyfile(run.sae / "runner_cfg.json", own / "runner_cfg.json")


def _write_evaluations(folder: Path, run: RunFolder, concepts: list[dict[str, Any]]) -> None:
    for file in sorted(run.evaluations(METHOD).glob("*.json")):
        result = read_json(file)
        metadata = result["sae_cfg_dict"].get("metadata", {})
        metadata["model_name"] = public_name(metadata.get("model_name") or "")
        encoder = result["eval_config"]["sentence_encoder"]
        result["eval_config"]["sentence_encoder"] = public_name(encoder)
        write_json(folder / METHOD / file.name, result)
    write_json(folder / METHOD / "concepts.json", concepts)
    for name in _COMPARISON:
        if (run.folder / name).is_file():
            shutil.copyfile(run.folder / name, folder / name)


def _write_texts(file: Path, run: RunFolder, concepts: list[dict[str, Any]]) -> None:
    texts = load_text_data(run.cfg.data, "test").texts
    write_json(file, {str(own["index"]): [texts[row] for row in own["top_texts"]] for own in concepts})


def sizes(folder: Path) -> list[tuple[str, int]]:
    """Every file of a folder with its size in bytes, in order of their names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in files]
