"""Draw the end of a demo as a picture for the README: ``python docs/demo_svg.py runs/demo docs/demo.svg``.

Runs the demo once more in that folder, which reuses what is done.
"""

import io
import os
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

run, picture = sys.argv[1], Path(sys.argv[2])
environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": "112"}
command = [sys.executable, "-m", "sae_lens_classif", "demo", "--run", run]
shown = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout
console = Console(record=True, width=112, file=io.StringIO())
console.print("$ make demo", highlight=False)
console.print(Text.from_ansi(shown))
# A picture that asks no server for its fonts.
start, end = CONSOLE_SVG_FORMAT.index("@font-face"), CONSOLE_SVG_FORMAT.rindex(".{unique_id}-matrix")
without_fonts = CONSOLE_SVG_FORMAT[:start] + CONSOLE_SVG_FORMAT[end:]
picture.write_text(console.export_svg(title="sae_lens_classif", code_format=without_fonts), encoding="utf-8")
