"""Bring a folder with concepts to the Hugging Face Hub, through SAELens' uploader and ``huggingface_hub``."""

import contextlib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from sae_lens import SAE
from sae_lens.training.upload_saes_to_huggingface import upload_saes_to_huggingface

from sae_lens_classif.errors import UserError
from sae_lens_classif.hub import hub_is_reachable
from sae_lens_classif.methods.base import METHOD_FILE
from sae_lens_classif.publishing.model_card import SAE_ID, TOPK_ID

_OURS = (f"{SAE_ID}/cfg.json", f"*/{METHOD_FILE}")  # one of these is in what this package uploads
_EMPTY = {".gitattributes", "README.md"}  # what the Hub's own page for a new repository puts there


def upload(folder: Path, repo_id: str, *, private: bool = False) -> str:
    """Upload a folder whose subfolders with a ``cfg.json`` are SAEs; its model card comes last.

    Args:
        folder: What is uploaded, ``README.md`` included.
        repo_id: ``owner/name``; made if it does not exist.
        private: Whether only its owners may see a repository; one that is public already is refused then.

    Returns:
        Address of the repository.

    Raises:
        UserError: If nobody is logged in, the Hub cannot be reached or refuses, or the repository holds something else.
    """
    if not hub_is_reachable():
        raise UserError(
            f"the Hub cannot be reached from here; what is to be published is in {folder}: connect and try again"
        )
    if get_token() is None:
        raise UserError(
            "nobody is logged in to the Hub; run `hf auth login`, or set HF_TOKEN to a token that may write"
        )
    api = HfApi()
    with _explain_refusal(repo_id):
        there = _files_of(api, repo_id, private)
        address = api.create_repo(repo_id, private=private or None, exist_ok=True)
        saes: dict[str, SAE[Any] | Path | str] = {
            file.parent.name: file.parent for file in sorted(folder.glob("*/cfg.json"))
        }
        if saes:
            upload_saes_to_huggingface(saes, repo_id, show_progress=False, add_default_readme=False)
        # What an earlier one had and this has not.
        ours = {Path(name).parts[0] for name in there if _is_ours(name)}
        of_another_method = (ours | {TOPK_ID} if SAE_ID in ours else ours) - saes.keys()
        api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            ignore_patterns=[f"{name}/*" for name in saes],
            delete_patterns=["evals/*", "figures/*", *(f"{name}/*" for name in sorted(of_another_method))],
            commit_message="Evaluations, figures and model card",
        )
    return str(address)


def _files_of(api: HfApi, repo_id: str, private: bool) -> set[str]:
    """What a repository holds; nothing where there is none.

    Raises:
        UserError: If it holds something else than concepts, or is public and should not be.
    """
    try:
        info = api.model_info(repo_id)
    except RepositoryNotFoundError:
        return set()
    names = {sibling.rfilename for sibling in info.siblings or ()}
    if names - _EMPTY and not any(map(_is_ours, names)):
        raise UserError(
            f"{repo_id} is there already and holds something else (no {' or '.join(_OURS)}); its README.md would be "
            "replaced: give another name"
        )
    if private and not info.private:
        raise UserError(f"{repo_id} is public already; make it private on the Hub first, or give another name")
    return names


def _is_ours(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in _OURS)


@contextlib.contextmanager
def _explain_refusal(repo_id: str) -> Iterator[None]:
    try:
        yield
    except (HfHubHTTPError, httpx2.HTTPError, RuntimeError) as error:
        # huggingface_hub wraps what goes wrong while a large file is sent; over Xet it is a RuntimeError alone.
        cause = error.__cause__ or error if type(error) is RuntimeError else error
        if isinstance(cause, HfHubHTTPError):
            raise UserError(f"the Hub refused {repo_id}: {_reason(cause)}") from error
        raise UserError(
            f"the upload broke off ({type(cause).__name__}: {cause}); run the same command again"
        ) from error
    except ValueError as error:
        if "Invalid metadata" not in str(error):
            raise
        raise UserError(f"the Hub refuses the model card: {error}; is --license one that it knows?") from error


def _reason(error: HfHubHTTPError) -> str:
    status = error.response.status_code
    advice = {
        401: "log in again with `hf auth login`",
        403: "use a token that may write there, or give a repository of your own",
    }.get(status, "try again later")
    return f"{error.server_message or f'status {status}'}; {advice}"
