"""SAE features of whole texts, and classifiers on them (MOSAIC, arXiv 2502.11367)."""
