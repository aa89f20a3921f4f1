"""The ClassifSAE, its losses and its files; nothing here knows of language models."""
