"""The Inception Score against torch-fidelity, and where its value is known."""

import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from ngldm.scoring.evaluation.asked.inception_score import inception_score


@pytest.mark.parametrize("count", [10, 57, 400])
def test_it_is_torch_fidelitys(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(count, 30, generator=generator)
    class_weights = torch.randn(50, 30, generator=generator)
    wanted = isc_features_to_metric(features.double() @ class_weights.double().T, splits=10, shuffle=False)
    found = inception_score(features, class_weights)
    if count % 10 == 0:  # else the parts' sizes differ by one image
        assert found.mean == pytest.approx(wanted["inception_score_mean"], rel=1e-9)
        assert found.std == pytest.approx(wanted["inception_score_std"], rel=1e-6, abs=1e-12)
    assert found.mean == pytest.approx(wanted["inception_score_mean"], rel=0.1)


def test_it_is_the_number_of_classes_that_occur_equally_often() -> None:
    features = 100.0 * torch.eye(5).repeat(20, 1)  # sure of one of 5 classes, in turn
    assert inception_score(features, torch.eye(8, 5)).mean == pytest.approx(5.0, rel=1e-9)
    assert inception_score(torch.zeros(40, 5), torch.eye(8, 5)) == pytest.approx((1.0, 0.0), abs=1e-12)
