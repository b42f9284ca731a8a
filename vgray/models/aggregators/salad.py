"""SALAD: locations shared out over clusters by optimal transport, what is left to a dustbin."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from vgray.models.aggregators.base import Aggregator, at_least_float32, l2_normalize

_HIDDEN = 512
_ITERATIONS = 3


class SALAD(Aggregator):
    """Sinkhorn-assigned local features of each cluster, behind a projection of the class token.

    (features (B, C, H, W), token (B, C)) -> L2-normalised (B, token_dim + cluster_dim *
    num_clusters). Source: Izquierdo and Civera 2024; agrees with salad.

    Args:
        num_channels: channels of features and token.
        num_clusters: clusters beside the dustbin; a map must have more locations.
        cluster_dim: channels of a cluster.
        token_dim: channels that the token is projected to.
        dropout: the share of hidden channels that training leaves out.
    """

    needs_token: ClassVar[bool] = True

    def __init__(
        self,
        num_channels: int = 1536,
        num_clusters: int = 64,
        cluster_dim: int = 128,
        token_dim: int = 256,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.num_channels = num_channels
        self.num_clusters = num_clusters
        self.cluster_dim = cluster_dim
        self.token_dim = token_dim
        self.token_features = nn.Sequential(
            nn.Linear(num_channels, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, token_dim)
        )
        self.cluster_features = _perceptron(num_channels, cluster_dim, dropout)
        self.score = _perceptron(num_channels, num_clusters, dropout)
        self.dust_bin = nn.Parameter(torch.tensor(1.0))

    def forward(self, features_and_token: tuple[Tensor, Tensor]) -> Tensor:
        """Features (B, C, H, W) and token (B, C) -> L2-normalised (B, D).

        Raises:
            ValueError: the map has no more locations than there are clusters.
        """
        features, token = features_and_token
        locations = features.shape[2] * features.shape[3]
        if locations <= self.num_clusters:
            raise ValueError(
                f"found a map of {features.shape[2]}x{features.shape[3]} = {locations} locations, "
                f"expected more than num_clusters={self.num_clusters}: SALAD gives each cluster "
                "the weight of one location and the dustbin the rest"
            )
        features = at_least_float32(features)
        local = self.cluster_features(features).flatten(2)
        # Thrice summed exponentials need float32, also where the layers compute in less.
        shares = transport(at_least_float32(self.score(features).flatten(2)), self.dust_bin)
        clusters = l2_normalize(local @ shares.transpose(1, 2))
        scene = l2_normalize(self.token_features(at_least_float32(token)))
        return l2_normalize(torch.cat([scene, clusters.flatten(1)], dim=1))


def _perceptron(num_channels: int, out_channels: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(num_channels, _HIDDEN, 1),
        nn.Dropout(dropout),
        nn.ReLU(),
        nn.Conv2d(_HIDDEN, out_channels, 1),
    )


def transport(scores: Tensor, dust_bin: Tensor) -> Tensor:
    """Share n locations out over m clusters, each of which takes 1, and a dustbin for the rest.

    Args:
        scores: (B, m, n), n > m, log affinities of clusters and locations.
        dust_bin: scalar, the affinity of the dustbin and any location.

    Returns:
        Shares (B, m, n) after three Sinkhorn iterations, those of the dustbin left out. What a
        location gives to all clusters is at most 1.
    """
    batch, clusters, locations = scores.shape
    scores = torch.cat([scores, dust_bin.expand(batch, 1, locations)], dim=1)
    log_mass = scores.new_zeros(clusters + 1, 1)
    log_mass[-1] = math.log(locations - clusters)
    column = scores.new_zeros(batch, 1, locations)
    for _ in range(_ITERATIONS):
        row = log_mass - (scores + column).logsumexp(dim=2, keepdim=True)
        column = -(scores + row).logsumexp(dim=1, keepdim=True)
    return (scores + row + column).exp()[:, :-1]
