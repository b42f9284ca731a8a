"""BoQ: learned queries, the same for every image, that look for what they know in the map."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from vgray.models.aggregators.base import Aggregator, at_least_float32, l2_normalize

_HEAD_CHANNELS = 64


class BoQ(Aggregator):
    """Bag of learned queries: each block of encoder and cross-attention adds its answers.

    (B, in_channels, H, W) -> L2-normalised (B, proj_channels * row_dim). Source: Ali-bey et al.
    2024; agrees with Bag-of-Queries.

    Args:
        in_channels: channels of the features.
        proj_channels: channels of queries and answers, a multiple of 64.
        num_queries: queries of each block.
        num_layers: how many blocks.
        row_dim: answers that are left.

    Raises:
        ValueError: proj_channels is not a multiple of 64.
    """

    def __init__(
        self,
        in_channels: int = 1024,
        proj_channels: int = 512,
        num_queries: int = 32,
        num_layers: int = 2,
        row_dim: int = 32,
    ) -> None:
        super().__init__()
        if proj_channels < 1 or proj_channels % _HEAD_CHANNELS:
            raise ValueError(
                f"found proj_channels={proj_channels}, expected a multiple of {_HEAD_CHANNELS}, "
                "the channels of an attention head"
            )
        self.proj_c = nn.Conv2d(in_channels, proj_channels, 3, padding=1)
        self.norm_input = nn.LayerNorm(proj_channels)
        self.boqs = nn.ModuleList(_Block(proj_channels, num_queries) for _ in range(num_layers))
        self.fc = nn.Linear(num_layers * num_queries, row_dim)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, in_channels, H, W) -> L2-normalised (B, proj_channels * row_dim)."""
        x = self.proj_c(at_least_float32(features))
        x = self.norm_input(x.flatten(2).transpose(1, 2))
        answers = []
        for block in self.boqs:
            x, answer = block(x)
            answers.append(answer)
        return l2_normalize(self.fc(torch.cat(answers, dim=1).transpose(1, 2)).flatten(1))


class _Block(nn.Module):
    """Locations (B, N, d) -> encoded locations (B, N, d), answers to the queries (B, Q, d)."""

    def __init__(self, dim: int, num_queries: int) -> None:
        super().__init__()
        heads = dim // _HEAD_CHANNELS
        self.encoder = nn.TransformerEncoderLayer(dim, heads, 4 * dim, dropout=0, batch_first=True)
        self.queries = nn.Parameter(torch.randn(1, num_queries, dim))
        self.self_attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm_q = nn.LayerNorm(dim)
        self.cross_attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm_out = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = _encode(self.encoder, x)
        # The queries attend to themselves alone, so once is enough for the whole batch.
        queries = self.norm_q(self.queries + _attend(self.self_attn, self.queries, self.queries))
        answers = _attend(self.cross_attn, queries.expand(x.shape[0], -1, -1), x)
        return x, self.norm_out(answers)


# torch's own forward of these layers switches to fused kernels in evaluation, whose results differ
# in the last digits from those of training and of an exported program.
def _encode(layer: nn.TransformerEncoderLayer, x: Tensor) -> Tensor:
    x = layer.norm1(x + _attend(layer.self_attn, x, x))
    encoded: Tensor = layer.norm2(x + layer.linear2(functional.relu(layer.linear1(x))))
    return encoded


def _attend(attention: nn.MultiheadAttention, queries: Tensor, context: Tensor) -> Tensor:
    """Queries (B, Q, d), context (B, N, d) -> (B, Q, d)."""
    dim, heads = attention.embed_dim, attention.num_heads
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    query = functional.linear(queries, weight[:dim], bias[:dim])
    key, value = functional.linear(context, weight[dim:], bias[dim:]).chunk(2, dim=-1)
    query, key, value = (
        t.reshape(*t.shape[:2], heads, dim // heads).transpose(1, 2) for t in (query, key, value)
    )
    attended = functional.scaled_dot_product_attention(query, key, value)
    out: Tensor = attention.out_proj(attended.transpose(1, 2).flatten(2))
    return out
