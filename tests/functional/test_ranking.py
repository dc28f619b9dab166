"""AUC and recall against scikit-learn."""

import pytest
import torch
from sklearn.metrics import precision_recall_curve, roc_auc_score

from sup_lightning.functional.keyed_random import keyed_uniform
from sup_lightning.functional.ranking import auc, auc_of_weights, recall_of_weights


def test_auc_is_that_of_scikit_learn() -> None:
    scores = (keyed_uniform("scores", [0], 0, (300,))[0] * 20).round()  # many ties
    labels = (keyed_uniform("labels", [0], 0, (300,))[0] + scores / 40 > 0.7).long()
    weights = keyed_uniform("weights", [0], 0, (300,))[0]
    assert auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    expected = roc_auc_score(labels, scores, sample_weight=weights)
    assert auc_of_weights(scores, labels)(weights) == pytest.approx(expected, abs=1e-9)
    left_out = labels.clone()
    left_out[:100] = -1
    assert auc(scores, left_out) == pytest.approx(roc_auc_score(labels[100:], scores[100:]), abs=1e-12)
    assert auc(scores, torch.ones(300)) != auc(scores, torch.ones(300))  # NaN without a negative


@pytest.mark.parametrize("precision", [0.55, 0.7, 0.9, 0.99])
def test_recall_is_that_of_scikit_learn(precision: float) -> None:
    scores = (keyed_uniform("scores", [0], 0, (300,))[0] * 50).round()
    labels = (keyed_uniform("labels", [0], 0, (300,))[0] + scores / 100 > 0.7).long()
    weights = keyed_uniform("weights", [0], 0, (300,))[0]
    precisions, recalls, _ = precision_recall_curve(labels, scores, sample_weight=weights)
    expected = max(recalls[precisions >= precision])
    assert recall_of_weights(scores, labels, precision)(weights) == pytest.approx(expected, abs=1e-9)
