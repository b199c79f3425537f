"""Pictures while a network trains."""

import numpy as np
import torch

from ngldm.model import load_model
from ngldm.pipeline.tracking.comparison import (
    create_run,
)
from ngldm.pipeline.tracking.previews import preview, reporter
from ngldm.training.ema import EMA


def test_previews_leave_the_training_as_it_was(tmp_path, write_model):
    bundle = load_model(write_model(tmp_path / "model.safetensors"))
    ema = EMA(bundle.network, 0.9)
    before = torch.get_rng_state()
    first, second = (preview(bundle, ema, "cpu") for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.dtype == np.uint8
    assert torch.equal(torch.get_rng_state(), before)
    assert not ema.model.training


def test_training_logs_pictures_at_its_evaluations_until_one_fails(
    store, params, tmp_path, monkeypatch, capsys, write_model, report, frames
):
    bundle = load_model(write_model(tmp_path / "model.safetensors"))
    ema, run = EMA(bundle.network, 0.9), create_run(store, params, "laplace", {})
    tell = reporter(run, bundle, ema, "cpu")
    for step, heldout in ((10, None), (20, 0.5), (30, 0.4)):
        ema.updates = 20  # the reports before and after are those that a resumed training repeats
        tell(report(step, heldout))
    assert frames(run) == {("training", 20)}
    monkeypatch.setattr(ema.model, "forward", lambda *args: 1 / 0)
    for step in (40, 50):
        ema.updates = step
        tell(report(step, 0.3))
    assert capsys.readouterr().err.count("warning") == 1
    assert [m.step for m in store.client.get_metric_history(run.id, "train.loss")] == [10, 20, 30, 40, 50]
