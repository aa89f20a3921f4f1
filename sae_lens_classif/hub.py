"""Is the Hugging Face Hub there? Asked once and quickly, so that a closed machine is told at once."""

import functools
import os

_SECONDS = 5.0


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
    except (httpx2.HTTPError, OSError):
        return False
    return not answer.is_server_error  # during an outage each look-up would be retried, cached or not


def hub_unreachable_message(what: str) -> str:
    """Word the error for something that is neither on this machine nor to be had from the Hub."""
    return (
        f"{what} is not a local folder, not in the local Hugging Face cache, and the Hub cannot be "
        "reached from here; give a local folder, or connect and try again"
    )
