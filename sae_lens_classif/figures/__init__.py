"""Figures of a run: word clouds, a map of the concepts, curves, sweeps.

Its modules import matplotlib: import them where a figure is drawn, not at the top of other modules.
"""

from sae_lens_classif.errors import require

require("report", "matplotlib", "wordcloud")
