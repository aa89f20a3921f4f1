"""Labelled texts, checked before anything is computed."""
