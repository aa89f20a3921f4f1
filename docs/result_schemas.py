"""What the JSON files of a run hold, as JSON Schemas: ``python docs/result_schemas.py`` writes ``docs/schemas/``."""

import json
from pathlib import Path

from sae_lens_classif.audit.diff import Diff
from sae_lens_classif.audit.stable_concepts import Stability
from sae_lens_classif.features.behind import Behind
from sae_lens_classif.features.decisions import DecisionStudy
from sae_lens_classif.features.study import Study
from sae_lens_classif.features.transfer import TransferStudy
from sae_lens_classif.runs.results import json_schema, json_schemas
from sae_lens_classif.runs.transfer_concepts import ConceptsElsewhere

FOLDER = Path(__file__).parent / "schemas"
_ALL = json_schemas() | {
    "behind": json_schema(Behind), "diff": json_schema(Diff), "features": json_schema(Study),
    "stability": json_schema(Stability), "transfer_concepts": json_schema(ConceptsElsewhere),
    "transfer_features": json_schema(TransferStudy), "transfer_models": json_schema(DecisionStudy),
}  # fmt: skip
SCHEMAS = {name: json.dumps(schema, indent=1, ensure_ascii=False) + "\n" for name, schema in _ALL.items()}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in SCHEMAS.items():
        (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")
