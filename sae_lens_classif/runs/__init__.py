"""The folder of a run and the steps that fill it."""
