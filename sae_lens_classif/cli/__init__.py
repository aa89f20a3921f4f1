"""The command line."""

from sae_lens_classif.errors import require

require("cli", "rich")
from sae_lens_classif.cli.parser import main  # noqa: E402  (refused above in words)

__all__ = ["main"]
