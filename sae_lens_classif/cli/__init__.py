"""The command line."""

from sae_lens_classif.cli.parser import main

__all__ = ["main"]
