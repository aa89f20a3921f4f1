"""Draw the end of a run as a picture for the README: ``python docs/demo_svg.py runs/demo docs/demo.svg``."""

import io
import json
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from sae_lens_classif import load_config, load_text_data
from sae_lens_classif.display import show_summary

run, picture = Path(sys.argv[1]), Path(sys.argv[2])
console = Console(record=True, width=112, file=io.StringIO())
console.print("$ make demo", highlight=False)
texts = load_text_data(load_config(run / "config.yaml").data, "test").texts
show_summary(console, json.loads((run / "summary.json").read_text()), "classifsae", texts, run)
# A picture that asks no server for its fonts.
start, end = CONSOLE_SVG_FORMAT.index("@font-face"), CONSOLE_SVG_FORMAT.rindex(".{unique_id}-matrix")
without_fonts = CONSOLE_SVG_FORMAT[:start] + CONSOLE_SVG_FORMAT[end:]
picture.write_text(console.export_svg(title="sae_lens_classif", code_format=without_fonts), encoding="utf-8")
