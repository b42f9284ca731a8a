"""NetVLAD's clusters, found by k-means on local features of the training split."""

import logging
from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vgray.errors import UserError
from vgray.models.aggregators import NetVLAD
from vgray.models.network import Network
from vgray.retrieval import kmeans

logger = logging.getLogger(__name__)

# As published with NetVLAD: 50,000 local features are clustered.
_NUM_IMAGES = 500
_FEATURES_PER_IMAGE = 100
_ITERATIONS = 100

_BLOCK = 64  # images described at once


def initialise_clusters(
    network: Network,
    load: Callable[[NDArray[np.int64]], Tensor],
    rows: NDArray[np.int64],
    seed: int,
    threads: int | None = None,
) -> bool:
    """Give a NetVLAD (or CRN) aggregator the clusters of what its backbone sees.

    100 local features of each of 500 images, fewer where there are fewer, from a network in
    evaluation mode and images as they are. Source: deep-visual-geo-localization-benchmark.

    Args:
        network: nothing happens unless its aggregator has clusters.
        load: from rows to uint8 images (B, 3, H, W) on the network's device.
        rows: (T,) the training images.
        seed: of the choice of images and features, and of k-means.
        threads: for k-means; all cores unless given.

    Returns:
        Whether there were clusters to find.

    Raises:
        UserError: the images have fewer local features than there are clusters.
    """
    aggregator = network.aggregator
    if not isinstance(aggregator, NetVLAD):
        return False
    started = perf_counter()
    features = _sample_features(network, load, rows, seed)
    if len(features) < aggregator.clusters_num:
        raise UserError(
            f"aggregator.clusters_num: found {aggregator.clusters_num}, but the training images "
            f"have only {len(features)} local features to cluster; lower it or raise image_size"
        )
    centroids = kmeans(
        features, aggregator.clusters_num, iterations=_ITERATIONS, seed=seed, threads=threads
    )
    aggregator.init_params(centroids, features)
    logger.info(
        "%d clusters of %d local features in %.1f s",
        aggregator.clusters_num,
        len(features),
        perf_counter() - started,
    )
    return True


def _sample_features(
    network: Network,
    load: Callable[[NDArray[np.int64]], Tensor],
    rows: NDArray[np.int64],
    seed: int,
) -> NDArray[np.float32]:
    """Return local features (N, C), L2-normalised."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(rows, min(_NUM_IMAGES, len(rows)), replace=False))
    sampled: NDArray[np.float32] | None = None
    with network.evaluating():
        for start in range(0, len(chosen), _BLOCK):
            maps = network.local_features(load(chosen[start : start + _BLOCK])).float()
            images, channels, locations = *maps.shape[:2], maps.shape[2] * maps.shape[3]
            count = min(_FEATURES_PER_IMAGE, locations)
            if sampled is None:
                sampled = np.empty((len(chosen), count, channels), dtype=np.float32)
            picks = np.stack([rng.choice(locations, count, replace=False) for _ in range(images)])
            index = torch.from_numpy(picks).to(maps.device)[:, None].expand(-1, channels, -1)
            picked = functional.normalize(maps, dim=1).flatten(2).gather(2, index)
            sampled[start : start + images] = picked.transpose(1, 2).cpu().numpy()
    assert sampled is not None  # there is no training without images
    return sampled.reshape(-1, sampled.shape[2])
