"""The U-Net: shapes, initialisation, attention, embeddings of t."""

import math
from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from ngldm.io.errors import InputError
from ngldm.networks.names import TIME_EMBEDDINGS
from ngldm.networks.unet import (
    Attention,
    ResBlock,
    SinusoidalEmbedding,
    SirenEmbedding,
    UNet,
    UNetSettings,
    group_norm,
)

SIZES = [(1, 1), (2, 2), (3, 3), (5, 5), (7, 7), (8, 8), (3, 7), (7, 3), (24, 24)]
WIDTHS = {1: (8,), 2: (8, 12), 3: (8, 12, 16)}


def make(widths: tuple[int, ...] = (8, 16), seed: int = 0, channels: int = 2, **options: object) -> UNet:
    torch.manual_seed(seed)
    timesteps = options.pop("num_train_timesteps", 1000)
    defaults = {"attention_head_dim": 4, "blocks_per_level": 1}
    return UNet(channels, UNetSettings(widths, **(defaults | options)), timesteps)


def perturbed(model: UNet, scale: float = 0.1) -> UNet:
    """The same network with its zero-initialised layers at random."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            if not p.any():
                p.add_(scale * torch.randn(p.shape, generator=generator))
    return model


def images(count: int = 3, size: tuple[int, int] = (8, 8), channels: int = 2) -> Tensor:
    return torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(2))


def times(count: int = 3) -> Tensor:
    return torch.arange(1, count + 1) * 100


@pytest.mark.parametrize("levels", WIDTHS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_output_has_the_shape_and_type_of_the_input(size, levels):
    model = perturbed(make(WIDTHS[levels], attention_levels=(levels - 1,)))
    x = images(2, size)
    with torch.no_grad():
        out = model(x, times(2))
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    assert torch.isfinite(out).all()
    assert out.any()


@pytest.mark.parametrize("embedding", TIME_EMBEDDINGS)
@pytest.mark.parametrize("levels", WIDTHS)
def test_output_is_exactly_zero_at_initialisation(levels, embedding):
    model = make(WIDTHS[levels], attention_levels=(levels - 1,), time_embedding=embedding)
    assert not model(images(), times()).any()


def test_branches_are_the_identity_at_initialisation():
    """The last convolution of each residual and attention branch is zero, not only the network's last."""
    model = make((8, 16), attention_levels=(0, 1))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, ResBlock):
                x = images(1, (3, 3), module.conv1.in_channels)
                emb = torch.ones(1, module.time.in_features)
                assert torch.equal(module(x, emb), module.skip(x))
            elif isinstance(module, Attention):
                x = images(1, (3, 3), module.qkv.in_channels)
                assert torch.equal(module(x), x)


@pytest.mark.parametrize("embedding", TIME_EMBEDDINGS)
def test_output_depends_on_every_images_own_t(embedding):
    """Changing one image's t changes that image's output and no other's."""
    model = perturbed(make(time_embedding=embedding))
    t = torch.tensor([10, 20, 30])
    with torch.no_grad():
        before, after = model(images(), t), model(images(), torch.tensor([10, 21, 30]))
    changed = (before - after).abs().amax((1, 2, 3))
    assert changed[1] > 1e-4
    assert changed[[0, 2]].max() < 1e-6


@pytest.mark.parametrize("embedding", TIME_EMBEDDINGS)
def test_embedding_tells_all_timesteps_apart(embedding):
    model = make((16,), attention_levels=(), time_embedding=embedding, num_train_timesteps=1000)
    with torch.no_grad():
        out = model.time_embedding(torch.arange(1, 1001)).double()
    distance = torch.cdist(out, out, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(math.inf)
    assert distance.min() > 1e-4


@pytest.mark.parametrize("embedding", TIME_EMBEDDINGS)
def test_the_narrowest_network_depends_on_t_or_is_refused(embedding):
    """A width of 1 leaves half of it, rounded down, for the sinusoids."""
    try:
        model = make((1,), attention_levels=(), time_embedding=embedding)
    except InputError:
        return
    out = model.time_embedding(torch.tensor([10, 500]))
    assert not torch.equal(out[0], out[1])


@pytest.mark.parametrize("base", [2, 8, 9, 64])
def test_sinusoidal_embedding_is_the_formula(base):
    """Vaswani et al. 2017: sin and cos of t / 10000^(i / half), then the MLP."""
    embedding = SinusoidalEmbedding(base, 12)
    half = base // 2
    t = torch.tensor([1, 17, 500, 1000])
    angles = torch.tensor([[s / 10_000 ** (i / half) for i in range(half)] for s in t.tolist()], dtype=torch.float64)
    waves = torch.cat([angles.sin(), angles.cos()], dim=1).float()
    seen = []
    embedding.mlp.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    out = embedding(t)
    torch.testing.assert_close(seen[0], waves, atol=2e-4, rtol=0.0)  # float32 angles up to 1000 are off by 6e-5
    first, act, last = embedding.mlp
    torch.testing.assert_close(out, last(act(first(waves))), atol=1e-3, rtol=0.0)
    assert isinstance(act, nn.SiLU)


def test_sinusoidal_frequencies_are_not_saved():
    assert not [key for key in SinusoidalEmbedding(8, 12).state_dict() if "frequencies" in key]


def fills(values: Tensor, bound: float) -> bool:
    """Whether values lie in (-bound, bound), spread as n uniform draws are: 5 deviations of mean and variance."""
    n = values.numel()
    mean_ok = values.mean().abs() < 5.0 * bound / math.sqrt(3.0 * n)
    square = values.square().mean() / bound**2  # mean 1/3, variance 4/45 per draw
    return bool(values.abs().max() <= bound and mean_ok and abs(square - 1 / 3) < 5.0 * math.sqrt(4 / 45 / n))


def test_siren_starts_in_the_published_ranges():
    torch.manual_seed(0)
    dim = 256
    siren = SirenEmbedding(dim, 1000)
    assert siren.omega_0 == 30.0
    assert fills(siren.first.weight, 1.0)
    assert fills(siren.first.bias, math.pi / 30.0)
    assert fills(siren.second.weight, math.sqrt(6.0 / dim))


def test_siren_is_its_formula():
    torch.manual_seed(0)
    siren = SirenEmbedding(16, 500)
    t = torch.tensor([1, 250, 500])
    w1, b1, w2, b2 = (p.detach().double() for p in siren.parameters())
    x = torch.tensor([[2 / 500 - 1], [0.0], [1.0]], dtype=torch.float64)
    expected = torch.sin(torch.sin(30.0 * (x @ w1.T + b1)) @ w2.T + b2)
    torch.testing.assert_close(siren(t).double(), expected, atol=1e-4, rtol=0.0)


def test_siren_scales_by_the_number_of_timesteps():
    torch.manual_seed(0)
    siren = SirenEmbedding(16, 1000)
    before = siren(torch.tensor([400]))
    siren.num_train_timesteps = 100
    torch.testing.assert_close(siren(torch.tensor([40])), before, atol=1e-4, rtol=0.0)


@pytest.mark.parametrize("levels", [(), (0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_attention_is_at_the_chosen_levels_only(levels):
    """Seen by the size at which attention runs: 2 blocks down and 3 up per level, one more at the bottleneck."""
    model = make(WIDTHS[3], attention_levels=levels, blocks_per_level=2)
    sizes: Counter[int] = Counter()
    for module in model.modules():
        if isinstance(module, Attention):
            module.register_forward_hook(lambda module, args, out: sizes.update([args[0].shape[-1]]))
    with torch.no_grad():
        model(images(1, (16, 16)), times(1))
    assert sizes == {16 >> level: 5 + (level == 2) for level in levels}


@pytest.mark.parametrize(("channels", "head_dim"), [(8, 8), (12, 4), (8, 1)])
@pytest.mark.parametrize("size", [(1, 1), (3, 5)], ids=str)
def test_attention_is_the_plain_computation(channels, head_dim, size):
    """x + W softmax(Q K^T / sqrt(d)) V, head by head; the heads are consecutive channels."""
    torch.manual_seed(0)
    layer = Attention(channels, head_dim)
    nn.init.normal_(layer.out.weight)
    nn.init.normal_(layer.out.bias)
    x = images(2, size, channels)
    with torch.no_grad():
        h = layer.norm(x).flatten(2).transpose(1, 2)  # (B, HW, C)
        qkv = h @ layer.qkv.weight[:, :, 0, 0].T + layer.qkv.bias
        q, k, v = qkv.split(channels, dim=2)
        heads = []
        for start in range(0, channels, head_dim):
            part = slice(start, start + head_dim)
            weights = (q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(head_dim)).exp()
            heads.append(weights / weights.sum(2, keepdim=True) @ v[..., part])
        y = torch.cat(heads, dim=2) @ layer.out.weight[:, :, 0, 0].T + layer.out.bias
        torch.testing.assert_close(layer(x), x + y.transpose(1, 2).reshape(x.shape), atol=1e-5, rtol=1e-4)


def test_attention_ignores_where_the_positions_are():
    """Permuting the positions permutes the output: no position is mixed up with channels or heads."""
    torch.manual_seed(0)
    layer = Attention(8, 4)
    nn.init.normal_(layer.out.weight)
    x, order = images(2, (3, 5), 8), torch.randperm(15)
    with torch.no_grad():
        moved = layer(x.flatten(2)[..., order].reshape(x.shape))
        torch.testing.assert_close(moved, layer(x).flatten(2)[..., order].reshape(x.shape), atol=1e-5, rtol=1e-4)


def test_dropout_acts_in_train_mode_only():
    model, x, t = perturbed(make(dropout=0.5)), images(), times()
    plain = perturbed(make(dropout=0.0))
    with torch.no_grad():
        model.train()
        assert not torch.equal(model(x, t), model(x, t))
        model.eval()
        assert torch.equal(model(x, t), model(x, t))
        assert torch.equal(model(x, t), plain(x, t))


@pytest.mark.parametrize("embedding", TIME_EMBEDDINGS)
def test_gradient_reaches_every_parameter(embedding):
    model = perturbed(make(WIDTHS[3], attention_levels=(1, 2), time_embedding=embedding, blocks_per_level=2))
    model(images(), times()).square().mean().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert idle == []


def test_images_do_not_see_each_other():
    """The derivative of one image's output by another image is exactly zero; by itself it is not."""
    model, x = perturbed(make(attention_levels=(0, 1))), images().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x, times())[1].square().sum(), x)
    assert gradient[1].any()
    assert not gradient[[0, 2]].any()


def test_an_image_alone_gives_what_it_gives_in_a_batch():
    model, x, t = perturbed(make(attention_levels=(0, 1))), images(), times()
    with torch.no_grad():
        batch = model(x, t)
        alone = torch.cat([model(x[i : i + 1], t[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(alone, batch, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(8, 8), (5, 7)], ids=str)
def test_every_output_pixel_sees_every_input_pixel_through_attention(size):
    model, x = perturbed(make(attention_levels=(0,))), images(1, size).requires_grad_()
    (gradient,) = torch.autograd.grad(model(x, times(1))[0, 0, 0, 0], x)
    assert (gradient != 0).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 7, 8, 12, 20, 64, 128, 192, 500])
def test_group_norm_divides_the_channels_into_at_most_32_groups_of_4_or_more(channels):
    groups = group_norm(channels).num_groups
    assert channels % groups == 0
    assert groups <= 32
    assert groups == 1 or channels // groups >= 4
    allowed = [g for g in range(1, 33) if channels % g == 0 and (g == 1 or channels // g >= 4)]
    assert groups == max(allowed)


@pytest.mark.parametrize("levels", [(2,), (-1,), (0, 5), (1, 2, -3)])
def test_attention_level_out_of_range_is_refused(levels):
    bad = [level for level in levels if level not in (0, 1)]
    with pytest.raises(InputError) as caught:
        make((8, 16), attention_levels=levels)
    assert f"unet.attention_levels: {bad} lie outside the 2 levels" in str(caught.value)


@pytest.mark.parametrize(("head_dim", "levels", "width"), [(3, (0,), 8), (16, (0,), 8), (5, (1,), 12), (8, (0, 1), 12)])
def test_head_dim_that_does_not_divide_is_refused(head_dim, levels, width):
    with pytest.raises(InputError, match=rf"unet\.attention_head_dim: {head_dim} does not divide the width {width}"):
        make((8, 12), attention_levels=levels, attention_head_dim=head_dim)


@pytest.mark.parametrize("head_dim", [0, -4])
def test_head_dim_below_one_is_refused_even_where_it_divides(head_dim):
    with pytest.raises(InputError, match=rf"unet\.attention_head_dim: {head_dim} must lie between 1 and"):
        make((8, 12), attention_levels=(0,), attention_head_dim=head_dim)


def test_head_dim_need_not_divide_the_width_of_a_level_without_attention():
    make((10, 16), attention_levels=(1,), attention_head_dim=8)


def test_unknown_embedding_is_refused_with_the_choices():
    with pytest.raises(InputError, match=r"unet\.time_embedding 'rotary'.*sinusoidal, siren"):
        make(time_embedding="rotary")


@pytest.mark.parametrize("time_embedding", TIME_EMBEDDINGS)
def test_double_precision_goes_all_the_way(time_embedding):
    model = UNet(1, UNetSettings((8, 16), attention_head_dim=8, time_embedding=time_embedding)).double()
    x = torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    assert model(x, torch.tensor([1, 1000])).dtype == torch.float64


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (8, 8)], ids=str)
@pytest.mark.parametrize(("kind", "more"), [("scalar", 1), ("element", 2)])
def test_a_head_adds_channels_and_leaves_the_others(kind: str, more: int, size: tuple[int, int]) -> None:
    models = []
    for head in ("none", kind):
        torch.manual_seed(0)
        models.append(perturbed(UNet(2, UNetSettings((8, 16), attention_head_dim=4), 1000, head)))
    models[1].load_state_dict(models[0].state_dict(), strict=False)
    x = images(3, size)
    with torch.no_grad():
        plain, headed = (model(x, times()) for model in models)
    assert headed.shape == (3, 2 + more, *size)
    torch.testing.assert_close(headed[:, :2], plain)
    extra = headed[:, 2:].flatten(2)
    assert bool((extra == extra[..., :1]).all()) == (kind == "scalar" or size == (1, 1))
    assert extra.flatten(1).std(0).min() > 0.0  # it sees x_t and t


def test_a_head_draws_no_random_number_of_the_body() -> None:
    weights = []
    for head in ("none", "element"):
        torch.manual_seed(0)
        weights.append(UNet(2, UNetSettings((8, 16), attention_head_dim=4), 1000, head).state_dict())
    for name, weight in weights[0].items():
        assert torch.equal(weights[1][name], weight)
