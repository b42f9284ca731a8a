"""Attention of every location of a map to every other."""

from torch import Tensor
from torch.nn import functional


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Average the values of all locations, weighted by how well their keys fit the query of each.

    The weights are softmax(q · k / sqrt(M)) over the locations of the keys.

    Args:
        queries: (B, M, H, W).
        keys: (B, M, H, W).
        values: (B, M, H, W).

    Returns:
        (B, M, H, W).
    """
    # With a dimension for heads, because without it some versions of torch do not use the kernels
    # that never hold the (HW, HW) weights: 64 MiB per image for a map of 64 x 64.
    q, k, v = (x.flatten(2).transpose(1, 2).unsqueeze(1) for x in (queries, keys, values))
    mean: Tensor = functional.scaled_dot_product_attention(q, k, v)
    return mean.squeeze(1).transpose(1, 2).reshape(queries.shape)
