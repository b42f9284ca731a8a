"""An epoch's metrics in words."""

from collections.abc import Mapping
from typing import Any

from vgray.recipe import Recipe


def epoch_line(metrics: Mapping[str, Any], recipe: Recipe) -> str:
    """Return what an epoch came to, in one line; ``metrics`` are those of :func:`train`."""
    ns = recipe.evaluation.recall_at
    recalls = " ".join(f"@{n} {metrics[f'recall@{n}']:.1f}" for n in ns)
    mining = ""
    if "mining_seconds" in metrics:
        pool = metrics["mining_pool"]
        pools = f" in pools of {pool:.0f}" if pool else ""
        mining = (
            f", mining {metrics['mining_seconds']:.1f} s{pools}, "
            f"{metrics['mining_described']:.0f} images described, "
            f"{metrics['violating_tuples']:.0f} % of tuples violating"
        )
    return (
        f"epoch {metrics['epoch']}/{recipe.epochs}: loss {metrics['loss']:.4f}, "
        f"lr {metrics['lr']:.3g}, recall {recalls} "
        f"(@1 in [{metrics['recall@1_low']:.1f}, {metrics['recall@1_high']:.1f}]), "
        f"{metrics['images_per_s']:.0f} images/s, {metrics['seconds']:.1f} s{mining}"
    )
