"""What the steps of an epoch come to."""

import math
from collections import Counter
from typing import Any

from torch import Tensor

from vgray.recipe import Recipe
from vgray.recipe.losses import NoMiner, NoMining
from vgray.training.losses import TupleShape, violating_tuples


class Tally:
    """Counts the steps of an epoch; a GPU is asked only at its end.

    Args:
        recipe: what is trained.

    Attributes:
        num_images: trained so far.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.num_images = 0
        self._recipe = recipe
        self._losses: list[float] = []
        self._kept: Counter[str] = Counter()
        self._has_learned = False
        self._num_tuples = 0
        self._violating: Tensor | int = 0

    def add(
        self,
        loss: float,
        gradient: float,
        kept: dict[str, int],
        descriptors: Tensor,
        shape: TupleShape | None,
    ) -> None:
        """Count a step.

        Args:
            loss, gradient: its loss, and the norm of all gradients, without weight decay.
            kept: what the miner kept, as :class:`MinedLoss` has it.
            descriptors: (B, D) trained on.
            shape: of the tuples, if they are such.
        """
        self.num_images += len(descriptors)
        self._losses.append(loss)
        self._kept.update(kept)
        self._has_learned |= gradient > 0
        if shape is not None:
            self._num_tuples += len(descriptors) // shape.size
            self._violating = self._violating + violating_tuples(descriptors, shape)

    def metrics(self) -> dict[str, Any]:
        """Return ``loss`` and ``num_batches``, and where there are such what else was counted.

        With a miner ``kept_positives`` and ``kept_negatives``, or ``kept_triplets``, of a batch on
        average; with tuples ``violating_tuples`` in percent; and a ``warning`` if no step had a
        gradient.
        """
        steps = len(self._losses)
        found: dict[str, Any] = {"loss": math.fsum(self._losses) / steps, "num_batches": steps}
        found |= {f"kept_{kind}": number / steps for kind, number in self._kept.items()}
        if self._num_tuples:
            found["violating_tuples"] = 100 * float(self._violating) / self._num_tuples
        if not self._has_learned:
            found["warning"] = f"nothing was learned in this epoch: {self._why()}"
        return found

    def _why(self) -> str:
        """Return why there was no gradient, as far as that is known, and what to do."""
        recipe = self._recipe
        loss, miner = f"the loss {recipe.loss.name}", f"the miner {recipe.miner.name}"
        kinds = [kind for kind, number in self._kept.items() if number]
        if self._kept and not kinds:
            return f"{miner} kept nothing in any batch; loosen it, or give miner.name none"
        if kinds in (["positives"], ["negatives"]):
            return (
                f"{miner} kept {kinds[0][:-1]} pairs only, of which {loss} makes nothing; loosen "
                "it, or give miner.name none"
            )
        of_what, harder = "the images of any batch", "larger batches"
        if not isinstance(recipe.mining, NoMining):
            of_what, harder = f"any tuple of mining {recipe.mining.name}", "harder negatives"
        elif not isinstance(recipe.miner, NoMiner):
            of_what, harder = f"what {miner} kept", "another miner"
        has_margin = any("margin" in name for name in recipe.loss.arguments())
        reason = ", as no pair or triplet violates its margin" if has_margin else ""
        return (
            f"{loss} makes nothing of {of_what}{reason}; give "
            f"{'a stricter margin, ' if has_margin else 'another loss, '}or {harder}"
        )
