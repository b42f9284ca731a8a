"""Training of one recipe, in one process, on one device."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgray.errors import UserError
from vgray.models.checkpoint import TRAINING_STATE, fill_from_checkpoint, save_checkpoint
from vgray.models.devices import default_device
from vgray.models.initial import load_initial
from vgray.models.network import Network
from vgray.places.augmentation import augment
from vgray.recipe import Recipe
from vgray.training.batches import Batch, build_batches
from vgray.training.checkpoints import Saved, differences, epoch_folder, read_saved, remove_old
from vgray.training.clusters import initialise_clusters
from vgray.training.data import TrainingData
from vgray.training.finite import require_finite_descriptors, require_finite_step
from vgray.training.losses import LOSSES, compute_loss
from vgray.training.miners import MINERS
from vgray.training.optimizers import build_optimizer
from vgray.training.precision import settle_precision
from vgray.training.process import limited_threads, peak_memory_mb, seed_everything
from vgray.training.run_folder import locked
from vgray.training.schedules import SCHEDULES
from vgray.training.tally import Tally
from vgray.training.validation import score

logger = logging.getLogger(__name__)

OnStep = Callable[[int, int, int, int], None]
"""Called after each step with: epoch, steps done, steps in all, images trained in the epoch."""

_BLOCK = 64  # images described at once in validation


def train(
    recipe: Recipe,
    data: TrainingData,
    folder: str | Path,
    *,
    device: torch.device | str | None = None,
    threads: int | None = None,
    progress: OnStep | None = None,
    evaluate_untrained: bool = False,
) -> Iterator[dict[str, Any]]:
    """Train a recipe and yield the metrics of each epoch when its checkpoint is on disk.

    One process at a time trains in a folder; another waits for it, up to two minutes. Called again
    on the same folder, it first yields the epochs that are done, as they were, and
    goes on from the newest intact checkpoint. All random numbers come from the recipe's seed and
    the epoch, so on a CPU an interrupted training ends with the numbers of one that was not.

    Args:
        recipe: what to train; ``precision: auto`` is settled here, and the checkpoints say how.
        data: images, places and the validation split.
        folder: for the checkpoints (see :mod:`vgray.training.checkpoints`).
        device: the first GPU, else the CPU, unless given.
        threads: for torch and faiss; theirs unless given.
        progress: called after each step.
        evaluate_untrained: also give the first epoch ``recall@1_untrained``.

    Yields:
        One flat dict per epoch: ``epoch`` (from 1), ``loss`` (mean over the steps), ``lr`` (of the
        last step), ``recall@N`` in percent for each N of the recipe, the 95 % interval
        ``recall@1_low`` and ``recall@1_high``, ``num_queries``, ``num_batches``, ``seconds``,
        ``train_seconds``, ``images_per_s`` (trained), ``peak_memory_mb`` (of the device; on a CPU
        of the process), ``threads`` (of torch), and, for the first epoch that a call trains,
        ``seconds_to_first_step``. With a miner also what it left of a batch, on average:
        ``kept_positives`` and ``kept_negatives`` (pairs), or ``kept_triplets``; with tuples what
        :meth:`TupleMiner.metrics` says, and ``violating_tuples``, the percent of those trained on
        with a negative nearer to the query than every positive. ``train_seconds`` and
        ``images_per_s`` are without ``mining_seconds``. Two are sentences for the user:
        ``warning``, in the first epoch in which nothing is learned, why; ``note``, in the first
        epoch, what the mining asks for beyond what the data has.

    Raises:
        TrainingDiverged: a number is no longer finite (:mod:`vgray.training.finite`).
        UserError: the folder holds a training of another recipe or other data; the weights cannot
            be had; there are too few places for one batch.
        OSError: another process trains in the folder, or it cannot be written.
    """
    where = torch.device(device) if device is not None else default_device()
    with locked(Path(folder)):
        yield from _train(recipe, data, Path(folder), where, threads, progress, evaluate_untrained)


def _train(
    recipe: Recipe,
    data: TrainingData,
    folder: Path,
    where: torch.device,
    threads: int | None,
    progress: OnStep | None,
    evaluate_untrained: bool,
) -> Iterator[dict[str, Any]]:
    saved = read_saved(folder)
    if saved is not None:
        _require_same(recipe, data, folder, saved)
    recipe = saved.recipe if saved is not None else settle_precision(recipe, where)
    history = saved.history if saved else []
    yield from history
    started = perf_counter()
    if len(history) >= recipe.epochs:
        return
    trainer: Trainer | None = None
    with limited_threads(threads):
        try:
            checkpoint = saved.checkpoint if saved else None
            trainer = Trainer(recipe, data, where, checkpoint, threads, progress, started)
            extra: dict[str, Any] = {}
            if evaluate_untrained and not history:
                extra["recall@1_untrained"] = trainer.evaluate()["recall@1"]
            if not history and (cut := trainer.batches.describe_cut()):
                extra["note"] = cut
            for epoch in range(len(history) + 1, recipe.epochs + 1):
                metrics = trainer.run_epoch(epoch) | extra
                if any("warning" in before for before in history):
                    metrics.pop("warning", None)  # said once
                history = [*history, metrics]
                extra = {}
                trainer.save(epoch_folder(folder, epoch), history)
                remove_old(folder, history)
                yield history[-1]
        finally:
            # The process may be given another trial at once.
            del trainer
            if where.type == "cuda":
                torch.cuda.empty_cache()


class Trainer:
    """A network and what is needed to train it; used by :func:`train`."""

    def __init__(
        self,
        recipe: Recipe,
        data: TrainingData,
        device: torch.device,
        checkpoint: Path | None,
        threads: int | None,
        progress: OnStep | None,
        started: float,
    ) -> None:
        data.require_fits(recipe)
        self.recipe, self.data, self.device = recipe, data, device
        self._threads, self._progress = threads, progress
        self._started: float | None = started
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        seed_everything(recipe.seed, 0)
        # What a checkpoint fills needs no weights, whose file may be gone by now.
        is_new = checkpoint is None and recipe.init_from is None
        self.network = Network(recipe, load_weights=is_new).to(device)
        self.optimizer = build_optimizer(self.network, recipe)
        self.loss = LOSSES[recipe.loss.name](**recipe.loss.arguments()).to(device)
        self.miner = MINERS[recipe.miner.name](**recipe.miner.arguments())
        self.batches = build_batches(recipe, data, threads)
        self.schedule = SCHEDULES[recipe.schedule.name](
            self.optimizer,
            epochs=recipe.epochs,
            steps_per_epoch=self.batches.num_batches,
            **recipe.schedule.arguments(),
        )
        self._ranks: NDArray[np.int64] | None = None
        self._epoch = 0
        if checkpoint is not None:
            self._restore(checkpoint)
            return
        has_clusters = False
        if recipe.init_from is not None:
            has_clusters = load_initial(self.network, recipe.init_from).aggregator
        if not has_clusters:
            initialise_clusters(self.network, self._images, data.train.rows, recipe.seed, threads)

    def save(self, checkpoint: Path, history: list[dict[str, Any]]) -> None:
        """Write the checkpoint of the last epoch of ``history``."""
        state = {
            "epoch": history[-1]["epoch"],
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "batches": self.batches.state_dict(),
        }
        metrics = {"data": self.data.fingerprint, "history": history}
        save_checkpoint(checkpoint, self.network, metrics, state, self._ranks)

    def _restore(self, checkpoint: Path) -> None:
        fill_from_checkpoint(self.network, checkpoint)
        state = torch.load(checkpoint / TRAINING_STATE, map_location="cpu", weights_only=True)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.batches.load_state_dict(state.get("batches", {}))
        logger.info("going on after epoch %d from %s", state["epoch"], checkpoint)

    def run_epoch(self, epoch: int) -> dict[str, Any]:
        """Train an epoch, validate, and return its metrics."""
        started = perf_counter()
        seed_everything(self.recipe.seed, epoch)
        metrics = {"epoch": epoch, **self._train_epoch(epoch), **self.evaluate(epoch)}
        self.schedule.end_epoch(metrics["recall@1"])
        metrics["seconds"] = perf_counter() - started
        metrics["peak_memory_mb"] = peak_memory_mb(self.device)
        metrics["threads"] = torch.get_num_threads()
        logger.info(
            "epoch %d: loss %.4f, recall@1 %.1f, %.1f s, %.0f images/s",
            *(metrics[k] for k in ("epoch", "loss", "recall@1", "seconds", "images_per_s")),
        )
        return metrics

    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        started = perf_counter()
        num_batches, batches = self.batches.epoch(epoch, self._describe_training)
        extra: dict[str, Any] = {}
        tally = Tally(self.recipe)
        lr, step = 0.0, 0
        self._epoch = epoch
        self.network.train()
        following = self._load_next(batches)
        while following is not None:
            batch, images, labels = following
            lr = self.optimizer.param_groups[0]["lr"]
            images = augment(
                images,
                self.recipe.augmentation,
                seed=self.recipe.seed,
                epoch=epoch,
                step=step,
                groups=batch.groups,
                queries=batch.queries,
            )
            described = self.network(images)
            mined = compute_loss(self.loss, self.miner, described, labels, batch.shape)
            self.optimizer.zero_grad(set_to_none=True)
            mined.value.backward()  # type: ignore[no-untyped-call]
            gradient = self._gradient_size()
            self.optimizer.step()
            self.schedule.end_step()
            # Read from disk while a GPU is still at work: the way back has not been waited for.
            following = self._load_next(batches)
            loss, size = require_finite_step(mined.value, gradient, self.recipe, epoch, step, lr)
            tally.add(loss, size, mined.kept, described, batch.shape)
            if self._started is not None:
                extra["seconds_to_first_step"] = perf_counter() - self._started
                self._started = None
            step += 1
            if self._progress is not None:
                self._progress(epoch, step, num_batches, tally.num_images)
        extra |= self.batches.metrics()
        extra |= tally.metrics()
        seconds = perf_counter() - started - extra.get("mining_seconds", 0.0)
        return {
            "lr": lr,
            "train_seconds": seconds,
            "images_per_s": tally.num_images / seconds,
            **extra,
        }

    def evaluate(self, epoch: int = 0) -> dict[str, Any]:
        """Return recall on the validation split, with its interval; ``epoch`` is for messages."""
        metrics, self._ranks = score(
            self._describe(self.data.database_rows, epoch),
            self._describe(self.data.query_rows, epoch),
            self.data.positives,
            recall_at=self.recipe.evaluation.recall_at,
            threads=self._threads,
        )
        return metrics

    def _describe_training(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the descriptors (len(rows), D) of rows of the training split, as they are now."""
        return self._describe(self.data.train.rows[rows], self._epoch)

    def _describe(self, rows: NDArray[np.int64], epoch: int) -> NDArray[np.float32]:
        """Return the descriptors (len(rows), D) of rows of the store."""
        described = np.empty((len(rows), self.network.dimension), dtype=np.float32)
        with self.network.evaluating() as network:
            for start in range(0, len(rows), _BLOCK):
                images = self._images(rows[start : start + _BLOCK])
                described[start : start + _BLOCK] = network(images).cpu().numpy()
        require_finite_descriptors(described, self.recipe, epoch)
        return described

    def _load_next(self, batches: Iterator[Batch]) -> tuple[Batch, Tensor, Tensor] | None:
        """Return the next batch with its images (B, 3, H, W) and labels (B,); None at the end."""
        batch = next(batches, None)
        if batch is None:
            return None
        labels = torch.from_numpy(batch.labels).to(self.device)
        return batch, self._images(self.data.train.rows[batch.rows]), labels

    def _images(self, rows: NDArray[np.int64]) -> Tensor:
        # (B, H, W, 3) in memory is what channels-last means, so the permutation copies nothing.
        images = torch.from_numpy(self.data.pixels[rows]).permute(0, 3, 1, 2)
        if self.device.type == "cuda":
            return images.pin_memory().to(self.device, non_blocking=True)
        return images.to(self.device)

    def _gradient_size(self) -> Tensor:
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        return torch.nn.utils.get_total_norm(gradients)


def _require_same(recipe: Recipe, data: TrainingData, folder: Path, saved: Saved) -> None:
    """Refuse to go on with a training of something else."""
    if recipe.precision == "auto":  # settled when that training began, perhaps on another device
        recipe = recipe.model_copy(update={"precision": saved.recipe.precision})
    changed = differences(recipe, saved.recipe)
    if changed:
        path, (now, before) = next(iter(changed.items()))
        raise UserError(
            f"training folder {folder}: was begun with another recipe ({path} was {before!r}, now "
            f"{now!r}); give the same recipe or another folder"
        )
    if data.fingerprint != saved.data:
        raise UserError(
            f"training folder {folder}: was begun with other data (fingerprint {saved.data[:12]}, "
            f"now {data.fingerprint[:12]}); give the same data or another folder"
        )
