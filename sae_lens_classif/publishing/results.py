"""Which results of a run strangers may see: those of the SAE that is published, without names of this machine."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sae_lens_classif.data.texts import load_text_data
from sae_lens_classif.errors import UserError
from sae_lens_classif.files import read_json, write_json
from sae_lens_classif.methods.registry import BUILT_IN
from sae_lens_classif.runs.folder import METHOD, RunFolder
from sae_lens_classif.runs.own_comparison import read_own_comparison
from sae_lens_classif.runs.tables import write_comparison
from sae_lens_classif.store.store import ActivationStore

LOCAL_MODEL, LOCAL_TEXTS = "a local model", "local texts"
TEXTS_FILE = "top_texts.json"


def write_evaluations(folder: Path, run: RunFolder, entry: Mapping[str, Any], repo_id: str, model: str) -> None:
    """Write the evaluations that were made with the settings of the summary, and the concepts.

    Args:
        folder: Where to.
        run: The run folder.
        entry: The ClassifSAE's entry of the summary.
        repo_id: Stands for the run's name.
        model: What the language model is called.
    """
    for file in sorted(run.evaluations(METHOD).glob("*.json")):
        result = read_json(file)
        if result["eval_result_unstructured"]["settings_sha256"] != entry["settings_sha256"]:
            continue
        result["sae_lens_release_id"] = repo_id
        result["sae_cfg_dict"]["metadata"]["model_name"] = model
        result["eval_config"]["sentence_encoder"] = Path(result["eval_config"]["sentence_encoder"]).name
        write_json(folder / file.name, result)
    write_json(folder / "concepts.json", entry["concepts"])


def write_top_texts(file: Path, run: RunFolder, entry: Mapping[str, Any]) -> None:
    """Write the texts that activate each concept most.

    Raises:
        UserError: If the texts are not those that were evaluated.
    """
    data = load_text_data(run.cfg.data, "test")
    store = ActivationStore(run.activations("test"))
    if data.fingerprint() != store.fingerprints.data:
        raise UserError(
            f"the test texts of {run.cfg.data.source} are not those that were evaluated any more; publish without "
            "texts, or run `cache` and `evaluate` again"
        )
    write_json(file, {str(own["index"]): [data.texts[row] for row in own["top_texts"]] for own in entry["concepts"]})


def write_own_comparison(folder: Path, run: RunFolder, entry: Mapping[str, Any], n_test_texts: int) -> bool:
    """Write the run's comparison of the built-in methods, if it is of this SAE.

    Guests and methods of the user's own are left out: their names may be local paths.

    Returns:
        Whether there is one.
    """
    methods = [own for own in read_own_comparison(run, entry) if own.name in BUILT_IN]
    if len(methods) < 2:
        return False
    write_comparison(folder, methods, n_test_texts)
    return True


def copy_figures(folder: Path, run: RunFolder, entry: Mapping[str, Any], with_comparison: bool) -> None:
    """Copy the pictures that show the published SAE.

    Args:
        folder: Where to.
        run: The run folder.
        entry: The ClassifSAE's entry of the summary.
        with_comparison: Whether those of the comparison belong to it.
    """
    drawn = run.figures / METHOD / "made_from.json"
    is_of_this = drawn.is_file() and read_json(drawn)["settings_sha256"] == entry["settings_sha256"]
    own = sorted((run.figures / METHOD).glob("*.png")) if is_of_this else []
    compared = sorted(run.figures.glob("*.png")) if with_comparison else []
    for picture in [*own, *compared]:
        target = folder / picture.relative_to(run.figures)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, target)
