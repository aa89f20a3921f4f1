"""Texts of several labels, from real ones of one: ``benchmarks/several_labels.py ../shared/data/ag_news FOLDER``.

Each is one text, or two or three of any classes one after the other in any order, and its labels are their classes:
``FOLDER/train.jsonl`` and ``test.jsonl``, each with half as many texts as the data set has.
"""

import json
import random
import sys
from pathlib import Path

import sae_lens_classif as slc


def write(source: str, folder: Path) -> None:
    """Write both splits."""
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        data, draw = slc.load_text_data(slc.DataConfig(source=source), split), random.Random(split)
        rest = draw.sample(range(len(data)), len(data))
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            while len(rest) >= 3:
                own = [rest.pop() for _ in range(draw.randint(1, 3))]
                labels = sorted({data.class_names[data.labels[row]] for row in own})
                joined = " ".join(data.texts[row] for row in own)
                file.write(json.dumps({"text": joined, "label": labels}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    write(sys.argv[1], Path(sys.argv[2]))
