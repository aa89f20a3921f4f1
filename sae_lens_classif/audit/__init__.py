"""Concepts held against those of other trainings and other classifiers."""
