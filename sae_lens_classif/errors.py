"""The one kind of error a user can put right."""


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
