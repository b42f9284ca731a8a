"""Schedules of the learning rate.

A schedule runs a scheduler of torch on a learning rate of its own, and writes that rate times the
warm-up into the optimizer. So the warm-up stands in front of any schedule, and a drop that falls
inside the warm-up is not lost when the warm-up ends.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.optim import Optimizer, lr_scheduler

from vgray.errors import UserError


class Schedule:
    """The optimizer's learning rate throughout; the base of the others.

    The trainer calls :meth:`end_step` after each optimizer step and :meth:`end_epoch` after each
    epoch; the optimizer always holds the rate of the next step.

    Args:
        optimizer: its groups share one learning rate.
        epochs, steps_per_epoch: the length of the training.
        warmup_steps: step i of them (from 0) has (i + 1) / ``warmup_steps`` of the rate.
        warmup_epochs: the same in epochs, if there are no steps given.

    Raises:
        UserError: the warm-up is as long as the training.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        epochs: int,
        steps_per_epoch: int,
        warmup_steps: int = 0,
        warmup_epochs: float = 0.0,
    ) -> None:
        self._optimizer = optimizer
        self._warmup_steps = warmup_steps or int(warmup_epochs * steps_per_epoch)
        self._steps_per_epoch, self._num_steps = steps_per_epoch, 0
        if self._warmup_steps >= epochs * steps_per_epoch:
            raise UserError(
                f"schedule.warmup_steps: found {self._warmup_steps}, but training has "
                f"{epochs * steps_per_epoch} steps ({epochs} epochs of {steps_per_epoch}); lower "
                "it or train longer"
            )
        lr = optimizer.param_groups[0]["lr"]
        # The scheduler of torch moves this one: it reads back the rate that it wrote last, which
        # must not be one that a warm-up has scaled.
        self._unwarmed = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
        self._scheduler: Any = None
        self._write()

    def end_step(self) -> None:
        """Set the rate of the next step."""
        self._num_steps += 1
        self._write()

    def end_epoch(self, recall_at_1: float) -> None:
        """Set the rate of the next epoch, knowing the validation recall@1 of this one."""
        self._write()

    def state_dict(self) -> dict[str, Any]:
        """Return plain values from which :meth:`load_state_dict` goes on."""
        inner = self._scheduler.state_dict() if self._scheduler is not None else {}
        return {
            "num_steps": self._num_steps,
            "steps_per_epoch": self._steps_per_epoch,
            "lr": self._unwarmed.param_groups[0]["lr"],
            "scheduler": inner,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._num_steps = state["num_steps"]
        self._steps_per_epoch = state.get("steps_per_epoch", self._steps_per_epoch)
        self._unwarmed.param_groups[0]["lr"] = state["lr"]
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["scheduler"])
        self._write()

    def _advance(self, *measure: float) -> None:
        self._unwarmed.step()  # nothing to do, but torch warns about schedulers that run ahead
        self._scheduler.step(*measure)

    def _write(self) -> None:
        lr = self._unwarmed.param_groups[0]["lr"]
        if self._num_steps < self._warmup_steps:
            lr = lr * (self._num_steps + 1) / self._warmup_steps
        for group in self._optimizer.param_groups:
            group["lr"] = lr


class Cosine(Schedule):
    """Half a cosine down to ``eta_min`` in ``t_max`` epochs (all unless given), then up again.

    ``per`` says whether the rate changes after each ``epoch`` or each ``step``.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        epochs: int,
        steps_per_epoch: int,
        warmup_steps: int = 0,
        warmup_epochs: float = 0.0,
        t_max: int | None = None,
        per: str = "epoch",
        eta_min: float = 0.0,
    ) -> None:
        super().__init__(
            optimizer,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            warmup_steps=warmup_steps,
            warmup_epochs=warmup_epochs,
        )
        self._per_step = per == "step"
        # An epoch may have a batch more or less than the first; each ends at the same rate.
        self._steps_in_epoch = 0
        self._scheduler = lr_scheduler.CosineAnnealingLR(
            self._unwarmed,
            T_max=(t_max or epochs) * (steps_per_epoch if self._per_step else 1),
            eta_min=eta_min,
        )

    def end_step(self) -> None:
        """Set the rate of the next step."""
        if self._per_step and self._steps_in_epoch < self._steps_per_epoch:
            self._steps_in_epoch += 1
            self._advance()
        super().end_step()

    def end_epoch(self, recall_at_1: float) -> None:
        """Set the rate of the next epoch."""
        if not self._per_step:
            self._advance()
        elif self._steps_in_epoch:
            for _ in range(self._steps_in_epoch, self._steps_per_epoch):
                self._advance()
            self._steps_in_epoch = 0
        super().end_epoch(recall_at_1)


class MultiStep(Schedule):
    """The rate times ``gamma`` after each epoch in ``milestones``."""

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        epochs: int,
        steps_per_epoch: int,
        warmup_steps: int = 0,
        warmup_epochs: float = 0.0,
        milestones: Sequence[int] = (5, 10, 15, 25),
        gamma: float = 0.3,
    ) -> None:
        super().__init__(
            optimizer,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            warmup_steps=warmup_steps,
            warmup_epochs=warmup_epochs,
        )
        self._scheduler = lr_scheduler.MultiStepLR(self._unwarmed, list(milestones), gamma=gamma)

    def end_epoch(self, recall_at_1: float) -> None:
        """Set the rate of the next epoch."""
        self._advance()
        super().end_epoch(recall_at_1)


class Plateau(Schedule):
    """The rate times ``factor`` when recall@1 has not risen for more than ``patience`` epochs."""

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        epochs: int,
        steps_per_epoch: int,
        warmup_steps: int = 0,
        warmup_epochs: float = 0.0,
        factor: float = 0.1,
        patience: int = 1,
    ) -> None:
        super().__init__(
            optimizer,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            warmup_steps=warmup_steps,
            warmup_epochs=warmup_epochs,
        )
        self._scheduler = lr_scheduler.ReduceLROnPlateau(
            self._unwarmed, mode="max", factor=factor, patience=patience, threshold=0.0
        )

    def end_epoch(self, recall_at_1: float) -> None:
        """Set the rate of the next epoch, knowing the validation recall@1 of this one."""
        self._advance(recall_at_1)
        super().end_epoch(recall_at_1)


SCHEDULES: dict[str, type[Schedule]] = {
    "none": Schedule,
    "cosine": Cosine,
    "multistep": MultiStep,
    "plateau": Plateau,
}
