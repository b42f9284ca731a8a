"""NetVLAD: residuals to learned centroids, softly assigned; and CRN, which reweights locations."""

import math
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from vgray.models.aggregators.base import (
    Aggregator,
    at_least_float32,
    l2_normalize,
    safe_norm,
)

# A chunk of the batch has at most so many values in map and assignment together: 64 MiB of float32,
# which keeps a GPU busy and is little beside a backbone's activations.
_CHUNK_VALUES = 2**24

# A descriptor assigned to its first centroid a hundred times as much as to the second: the
# published choice of alpha.
_LOG_RATIO = -math.log(0.01)
_LEAST_GAP = 1e-4  # between the two similarities; alpha stays finite when descriptors are alike


class NetVLAD(Aggregator):
    """Sum of residuals to each centroid, weighted by soft assignment.

    (B, dim, H, W) -> L2-normalised (B, clusters_num * dim). Source: Arandjelović et al. 2016;
    agrees with the deep-visual-geo-localization-benchmark. Computed as two matrix products, in
    float32, in chunks of the batch: beside features, descriptors and their gradients, its memory
    does not grow with the batch.

    Args:
        clusters_num: how many centroids.
        dim: channels of the features.
        normalize_input: whether each location is L2-normalised first.

    Raises:
        ValueError: fewer than two clusters.
    """

    def __init__(
        self, clusters_num: int = 64, dim: int = 128, normalize_input: bool = True
    ) -> None:
        super().__init__()
        if clusters_num < 2:
            raise ValueError(f"found clusters_num={clusters_num}, expected at least 2")
        self.clusters_num = clusters_num
        self.dim = dim
        self.normalize_input = normalize_input
        self.conv = nn.Conv2d(dim, clusters_num, 1, bias=False)
        self.centroids = nn.Parameter(torch.rand(clusters_num, dim))

    def init_params(
        self, centroids: Tensor | NDArray[Any], descriptors: Tensor | NDArray[Any]
    ) -> float:
        """Take over centroids of k-means, and assign to them as sharply as published.

        The parameters are written in place, so that an optimizer that has them keeps them.

        Args:
            centroids: (clusters_num, dim), not normalised.
            descriptors: (N, dim), L2-normalised local descriptors.

        Returns:
            The sharpness alpha: the assignment's weights are alpha * normalised centroids.

        Raises:
            ValueError: another shape, no descriptors, or a value that is not finite.
        """
        means = at_least_float32(torch.as_tensor(centroids).detach())
        local = at_least_float32(torch.as_tensor(descriptors).detach())
        expected = (self.clusters_num, self.dim)
        if means.shape != expected:
            raise ValueError(f"found centroids {tuple(means.shape)}, expected {expected}")
        if local.ndim != 2 or local.shape[1] != self.dim or len(local) == 0:
            raise ValueError(f"found descriptors {tuple(local.shape)}, expected (N, {self.dim})")
        if not (means.isfinite().all() and local.isfinite().all()):
            raise ValueError("found a centroid or descriptor that is not a finite number")
        directions = l2_normalize(means)
        nearest = (local @ directions.to(local).T).topk(2, dim=1).values
        gap = (nearest[:, 0] - nearest[:, 1]).mean(dtype=torch.float64).item()
        alpha = _LOG_RATIO / max(gap, _LEAST_GAP)
        with torch.no_grad():
            self.centroids.copy_(means)
            self.conv.weight.copy_(alpha * directions[:, :, None, None])
        return alpha

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, dim, H, W) -> L2-normalised (B, clusters_num * dim)."""
        values = (self.dim + self.clusters_num) * features.shape[2] * features.shape[3]
        images = max(1, _CHUNK_VALUES // values)
        # Residuals are small differences of large sums, too small for half precision.
        with torch.autocast(features.device.type, enabled=False):
            # An exported program takes any batch size, so it cannot count chunks.
            if torch.compiler.is_exporting() or len(features) <= images:
                return self._describe(features)
            return torch.cat(
                [
                    # What a chunk needs for its gradient is computed again rather than kept.
                    checkpoint(self._describe, chunk, use_reentrant=False, preserve_rng_state=False)
                    for chunk in torch.split(features, images)
                ]
            )

    def _describe(self, features: Tensor) -> Tensor:
        features = at_least_float32(features)
        x = features.flatten(2)
        # Scaling the assignments instead of the locations needs no second copy of the map.
        scale = 1 / safe_norm(x) if self.normalize_input else x.new_ones(1)
        logits = self.conv.weight.flatten(1).to(x) @ x * scale
        assignment = logits.softmax(dim=1)
        mask = self._mask(features, scale)
        if mask is not None:
            assignment = assignment * mask
        sums = (assignment * scale) @ x.transpose(1, 2)
        residuals = sums - assignment.sum(dim=2, keepdim=True) * self.centroids.to(x)
        return l2_normalize(l2_normalize(residuals, dim=2).flatten(1))

    def _mask(self, features: Tensor, scale: Tensor) -> Tensor | None:
        """Weights of the locations, (B, 1, H * W), or None when all count alike."""
        return None


class CRN(NetVLAD):
    """NetVLAD whose locations are weighted by a contextual reweighting network.

    Takes and returns what NetVLAD does; maps may have any size. Source: Kim et al. 2017; agrees
    with the deep-visual-geo-localization-benchmark on maps of even size, the ones that it takes.
    """

    def __init__(
        self, clusters_num: int = 64, dim: int = 128, normalize_input: bool = True
    ) -> None:
        super().__init__(clusters_num, dim, normalize_input)
        self.crn = _ContextualReweighting(dim)

    def _mask(self, features: Tensor, scale: Tensor) -> Tensor | None:
        if self.normalize_input:
            features = features * scale.reshape(-1, 1, *features.shape[2:])
        mask: Tensor = self.crn(features)
        return mask.flatten(2)


class _ContextualReweighting(nn.Module):
    """Features (B, dim, H, W) -> weights that are not negative (B, 1, H, W)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.filter_3_3 = nn.Conv2d(dim, 32, 3, padding=1)
        self.filter_5_5 = nn.Conv2d(dim, 32, 5, padding=2)
        self.filter_7_7 = nn.Conv2d(dim, 20, 7, padding=3)
        self.acc_w = nn.Conv2d(32 + 32 + 20, 1, 1)
        for layer in (self.filter_3_3, self.filter_5_5, self.filter_7_7):
            nn.init.xavier_normal_(layer.weight)
        nn.init.ones_(self.acc_w.weight)
        self.acc_w.requires_grad_(False)
        for layer in (self.filter_3_3, self.filter_5_5, self.filter_7_7, self.acc_w):
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        window = [min(3, side) for side in size]  # a larger one does not fit a map of one row
        x = functional.avg_pool2d(x, window, stride=2, ceil_mode=True)
        context = torch.cat([self.filter_3_3(x), self.filter_5_5(x), self.filter_7_7(x)], dim=1)
        weights = functional.relu(self.acc_w(functional.relu(context)))
        return functional.interpolate(weights, size=size, mode="bilinear")
