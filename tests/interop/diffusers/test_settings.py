"""The words of diffusers and ours."""

import pytest
from diffusers import DDIMScheduler, DDPMScheduler

from ngldm.interop.diffusers.settings import for_diffusers, from_diffusers, make_diffusion, make_options, ours
from ngldm.io.errors import InputError


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (DDIMScheduler(trained_betas=[0.1, 0.2]).config, "trained_betas"),
        (DDPMScheduler(beta_schedule="sigmoid").config, "unknown beta_schedule 'sigmoid'"),
        (DDPMScheduler(variance_type="learned_range").config, "variance_type: 'learned_range'"),
        (DDIMScheduler(thresholding=True).config, "thresholding: True"),
    ],
)
def test_what_we_do_not_have_is_refused(config, words):
    with pytest.raises(InputError, match=words):
        from_diffusers(config)


def test_a_clip_is_kept_with_its_bound():
    made = from_diffusers(DDPMScheduler(clip_sample_range=2.0).config)
    assert made["sampling"] == {"x0_handling": "clip", "x0_limit": 2.0}
    assert from_diffusers(DDPMScheduler(clip_sample=False).config)["sampling"] == {}


def test_names_and_maps_mean_the_same():
    one = make_diffusion(50, "cosine", "laplace", "epsilon", {})
    other = make_diffusion(50, {"name": "cosine"}, {"name": "laplace", "params": {}}, "epsilon", {})
    assert one.schedule.signal.equal(other.schedule.signal)
    assert one.noise.name == other.noise.name == "laplace"
    assert one.objective.target == "eps"


def test_betas_are_given_to_diffusers_where_there_are_any():
    diffusion = make_diffusion(20, "linear", "gaussian", "sample", {})
    added = for_diffusers(diffusion)
    assert added["trained_betas"] == pytest.approx(DDPMScheduler(20).betas.tolist(), rel=1e-5)
    assert added["clip_sample"] is False
    assert ours({"noise": "laplace", **added}) == {"noise": "laplace"}
    assert for_diffusers(make_diffusion(20, "rectified_flow", "gaussian", "sample", {})) == {}


def test_options_of_none_are_not_given():
    options = make_options("ddim", {"eta": 0.5, "x0_limit": None, "start_noise": "gaussian"})
    assert (options.own, options.start_noise, options.x0_limit) == ({"eta": 0.5}, "gaussian", None)
