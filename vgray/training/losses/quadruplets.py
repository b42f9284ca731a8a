"""Losses of tuples with a further negative."""

from torch import Tensor, nn
from torch.nn import functional


class HPHNLoss(nn.Module):
    """Mean over tuples of relu(margin + farthest positive - nearest negative).

    Distances are squared. The nearest negative is the nearest to the query or to the tuple's other
    image, which is a negative of the query and of all the tuple's images. Source: Xia et al. 2021
    (SOE-Net's hard positive hard negative quadruplet loss); agrees with their code.
    """

    def __init__(self, margin: float = 0.5) -> None:
        super().__init__()
        self.margin = margin

    def forward(
        self, queries: Tensor, positives: Tensor, negatives: Tensor, others: Tensor
    ) -> Tensor:
        """Return the loss of T tuples; embeddings are L2-normalised first.

        Args:
            queries: (T, D).
            positives: (T, P, D).
            negatives: (T, N, D).
            others: (T, D).
        """
        queries, positives, negatives, others = (
            functional.normalize(x, dim=-1) for x in (queries, positives, negatives, others)
        )
        farthest = _squared_distances(queries, positives).amax(1)
        nearest = _squared_distances(queries, negatives).amin(1)
        nearest_to_other = _squared_distances(others, negatives).amin(1)
        return (self.margin + farthest - nearest.minimum(nearest_to_other)).relu().mean()


def _squared_distances(one: Tensor, many: Tensor) -> Tensor:
    """Embeddings (T, D) and (T, K, D) -> (T, K)."""
    return (one.unsqueeze(1) - many).square().sum(2)
