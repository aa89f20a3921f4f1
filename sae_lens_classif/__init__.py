"""Which concepts does a language model use when it classifies text? ClassifSAE for SAELens.

Importing this package registers the architecture ``classifsae`` with SAELens, before or after SAELens itself is
imported, so that ``SAE.load_from_disk(folder)`` returns a ``ClassifSAE``. The names below are loaded when they
are first used.
"""

import importlib
import sys
from typing import Any

import lazy_loader
from wrapt import register_post_import_hook

from sae_lens_classif._version import __version__ as __version__

# The public names are those of __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def _register(_: Any) -> None:
    """Register with SAELens as soon as it is imported; importing the module does it.

    Where that module is what imports SAELens, it is half-way through and registers itself.
    """
    if f"{__name__}.saes.classif_sae" not in sys.modules:
        importlib.import_module(f"{__name__}.saes.classif_sae")


# SAELens takes seconds to import; a command line's --help need not wait for it.
register_post_import_hook(_register, "sae_lens")
