"""``python -m sae_lens_classif``."""

from sae_lens_classif.cli.parser import main

main()
