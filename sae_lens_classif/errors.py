"""The one kind of error a user can put right."""

import errno
import importlib.util

# How torch words it.
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "Storage size calculation overflowed")


class UserError(ValueError):
    """Something in the user's settings, data or files is wrong.

    The message says what was got, what was expected and what to do. The command line prints it in
    one line and exits with code 2; every other exception is ours and exits with code 1.
    """


def fault_of_the_machine(error: Exception) -> str | None:
    """What is wrong with the machine, where that is what an error of Python or of a library means, and what to do.

    Args:
        error: Whatever was raised.

    Returns:
        None for an error of ours.
    """
    words = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(sign in words for sign in _OUT_OF_MEMORY):
        return f"there is not enough memory for this ({words or 'none is left'}); ask for smaller sizes or batches"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space is left where this is written ({words}); make room"
    if isinstance(error, UnicodeEncodeError) and error.encoding.lower().replace("-", "") != "utf8":
        return f"here words are {error.encoding}, in which {error.object[:60]!a} cannot be said; set PYTHONUTF8=1"
    return None


def nearest(name: str, valid: list[str]) -> str:
    """Word the hint of an error about an unknown name.

    Args:
        name: What the user wrote.
        valid: The names that exist.

    Returns:
        ``"did you mean 'x'? Valid: ..."``, without the question where nothing is near.
    """
    import difflib

    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    question = f"did you mean {close[0]!r}? " if close else ""
    return f"{question}Valid: {', '.join(valid)}"


def require(extra: str, *modules: str) -> None:
    """Refuse to go on where what only a part of this package needs is not installed; nothing is imported.

    Args:
        extra: The extra of this package that installs it.
        *modules: The modules that are needed.

    Raises:
        UserError: If one of them is missing.
    """
    missing = [module for module in modules if not _is_installed(module)]
    if missing:
        raise UserError(f"{' and '.join(missing)} not installed; run: pip install 'sae-lens-classif[{extra}]'")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # Python's word for a module that is blocked
        return False
