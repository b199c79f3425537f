"""The transformer: its parts against diffusers', which patch an output depends on, that it learns."""

import pytest
import torch
from diffusers.models.attention_processor import Attention as DiffusersAttention
from diffusers.models.embeddings import get_2d_sincos_pos_embed

from ngldm.io.errors import InputError
from ngldm.networks.dit import Attention, Block, DiT, DiTSettings, positions

SMALL = DiTSettings(patch_size=2, width=16, depth=2, head_dim=8)


def test_positions_are_those_of_diffusers():
    """Theirs have the column in the first half."""
    theirs = torch.as_tensor(get_2d_sincos_pos_embed(16, (3, 3), base_size=3, output_type="pt")).float()
    ours = positions(3, 3, 16)
    torch.testing.assert_close(ours, torch.cat([theirs[:, 8:], theirs[:, :8]], dim=1))
    assert positions(3, 5, 16).unique(dim=0).shape == (15, 16)  # no two the same


def test_attention_with_normalised_queries_and_keys_is_that_of_diffusers():
    torch.manual_seed(0)
    ours = Attention(16, 8)
    theirs = DiffusersAttention(
        16, heads=2, dim_head=8, qk_norm="rms_norm", bias=True, eps=torch.finfo(torch.float32).eps
    )
    for norm in (ours.norm_q, ours.norm_k):
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    own = ours.state_dict()
    weights = {}
    for part in ("weight", "bias"):
        for name, value in zip("qkv", own[f"qkv.{part}"].chunk(3), strict=True):
            weights[f"to_{name}.{part}"] = value
        weights[f"to_out.0.{part}"] = own[f"out.{part}"]
    weights |= {f"norm_{name}.weight": own[f"norm_{name}.weight"] for name in "qk"}
    theirs.load_state_dict(weights)
    x = torch.randn(2, 5, 16)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_a_block_starts_as_the_identity_and_the_network_as_zero():
    x, emb = torch.randn(2, 5, 16), torch.randn(2, 16)
    assert torch.equal(Block(SMALL)(x, emb), x)
    assert torch.equal(DiT((3, 6, 4), SMALL)(torch.randn(2, 3, 6, 4), torch.tensor([1, 9])), torch.zeros(2, 3, 6, 4))


@pytest.mark.parametrize("shape", [(3, 6, 4), (2, 7, 5), (1, 1, 1)])
def test_a_patch_of_the_output_lies_where_its_patch_of_the_input_lies(shape):
    """At the start no token sees another. So the output at a position has a gradient of its own patch, and no other."""
    torch.manual_seed(0)
    network = DiT(shape, SMALL)
    torch.nn.init.normal_(network.patches_out.weight)
    x = torch.randn(1, *shape, requires_grad=True)
    row, column = shape[1] - 1, shape[2] // 2
    network(x, torch.tensor([3]))[0, 0, row, column].backward()
    reached = x.grad[0].abs().sum(0) > 0
    expected = torch.zeros(shape[1:], dtype=torch.bool)
    expected[row // 2 * 2 : row // 2 * 2 + 2, column // 2 * 2 : column // 2 * 2 + 2] = True
    assert torch.equal(reached, expected)


def test_it_learns_a_function_of_the_whole_image_and_time():
    """The target at a position needs the mean of the image, so patches must exchange what they know."""
    torch.manual_seed(0)

    def target(x, t):
        return x * (t / 100)[:, None, None, None] + 2.0 * x.mean((2, 3), keepdim=True)

    network = DiT((1, 4, 4), DiTSettings(patch_size=2, width=32, depth=2, head_dim=16))
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(300):
        x, t = torch.randn(128, 1, 4, 4), torch.randint(1, 101, (128,))
        loss = (network(x, t) - target(x, t)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, t = torch.randn(500, 1, 4, 4), torch.randint(1, 101, (500,))
    assert (network(x, t) - target(x, t)).square().mean() < 0.05 * target(x, t).var()


def test_dropout_acts_in_training_alone():
    torch.manual_seed(0)
    network = DiT((1, 4, 4), DiTSettings(width=16, depth=1, head_dim=8, dropout=0.5))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, t = torch.randn(1, 1, 4, 4), torch.tensor([5])
    assert not torch.equal(network(x, t), network(x, t))
    network.eval()
    assert torch.equal(network(x, t), network(x, t))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch_size": 0}, "dit.patch_size: 0 must lie between 1 and 65536"),
        ({"depth": 1.5}, "dit.depth: 1.5 is not a whole number"),
        ({"width": 48, "head_dim": 32}, "dit.width: 48 must be a multiple of head_dim = 32"),
        ({"width": 6, "head_dim": 3}, "dit.width: 6 must be a multiple of head_dim = 3, and of 4"),
        ({"dropout": 1.0}, "dit.dropout: 1.0 must be at least 0 and below 1"),
    ],
)
def test_bad_sizes_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        DiTSettings(**settings)
