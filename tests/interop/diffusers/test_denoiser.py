"""A model as a component of a pipeline."""

import pytest
import torch

from ngldm.interop.diffusers import Denoiser
from ngldm.model import Model


@pytest.mark.parametrize("kind", ["identity", "kl", "paper"])
def test_a_saved_component_holds_the_whole_model(make_model, kind, tmp_path):
    model = make_model("laplace", kind)
    Denoiser.of(model).save_pretrained(tmp_path)
    again = Denoiser.from_pretrained(tmp_path).model
    for part in ("network", "autoencoder"):
        found, wanted = (getattr(one, part).state_dict() for one in (again, model))
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    for part in ("statistics", "extent"):
        found, wanted = (vars(getattr(one, part)) for one in (again, model))
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    assert again.config == {**model.config, "image_shape": list(model.item_shape)}


def test_it_counts_timesteps_as_diffusers(make_model):
    model = make_model("laplace")
    component, x = Denoiser.of(model), torch.randn(3, 2, 4, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = model.network(x, torch.tensor([8, 8, 8]))
        for timestep in (7, torch.tensor(7), torch.tensor([7, 7, 7]), 7.0):
            assert torch.equal(component(x, timestep).sample, wanted)
        assert torch.equal(component(x, 7, return_dict=False)[0], wanted)


def test_preconditioning_is_part_of_it(make_model):
    """With EDM's preconditioning, x_0 at the first of 30 levels of a cosine schedule is nearly x_t."""
    config = {**make_model("gaussian", head="none").config}
    config["diffusion"] = {"objective": "x0", "preconditioning": "edm", "data_std": 1.0}
    x = torch.randn(3, 2, 4, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(Denoiser.of(Model.build(config))(x, 0).sample, x, rtol=0.1, atol=0.3)


def test_it_takes_the_classes_of_a_model_as_diffusers_networks_do(make_model):
    """K, here 2, and None mean no class."""
    classes = {"names": ["cat", "dog"], "counts": [1, 1], "label_dropout": 0.1}
    torch.manual_seed(0)
    model = Model.build({**make_model("laplace").config, "classes": classes})
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    model.network.eval()
    component, x = Denoiser.of(model), torch.randn(2, 2, 4, 3, generator=torch.Generator().manual_seed(0))
    t, both, none = torch.tensor([8, 8]), torch.tensor([0, 1]), torch.tensor([2, 2])
    with torch.no_grad():
        assert torch.equal(component(x, 7, both).sample, model.network(x, t, both))
        assert torch.equal(component(x, 7).sample, component(x, 7, class_labels=none).sample)
        assert not torch.allclose(component(x, 7).sample, component(x, 7, both).sample, atol=1e-3)
