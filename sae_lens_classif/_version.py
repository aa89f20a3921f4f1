"""The version, of which packaging asks too."""

__version__ = "0.1.0"
