"""The one kind of error a user can put right."""

import importlib.util


class UserError(ValueError):
    """Something in the user's settings, data or files is wrong.

    The message says what was got, what was expected and what to do. The command line prints it in
    one line and exits with code 2; every other exception is ours and exits with code 1.
    """


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
