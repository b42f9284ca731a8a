"""Training of one recipe, in one process, on one device."""

import logging
import math
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
from vgray.models.network import Network
from vgray.places.augmentation import augment
from vgray.places.sampling import epoch_batches, trainable_places
from vgray.recipe import Recipe
from vgray.retrieval import first_hits, nearest, wilson_interval
from vgray.training.checkpoints import Saved, differences, epoch_folder, read_saved, remove_old
from vgray.training.clusters import initialise_clusters
from vgray.training.data import TrainingData
from vgray.training.losses import LOSSES, compute_loss
from vgray.training.miners import MINERS
from vgray.training.optimizers import build_optimizer
from vgray.training.precision import settle_precision
from vgray.training.process import limited_threads, peak_memory_mb, seed_everything
from vgray.training.run_folder import locked
from vgray.training.schedules import SCHEDULES

logger = logging.getLogger(__name__)

OnStep = Callable[[int, int, int, int], None]
"""Called after each step with: epoch, steps done, steps in all, images trained in the epoch."""

_BLOCK = 64  # images described at once in validation


class TrainingDiverged(Exception):  # noqa: N818 (an outcome of training, not a fault in it)
    """The loss, a gradient or a descriptor is no longer a finite number."""


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
        of the process), and, for the first epoch that a call trains, ``seconds_to_first_step``.

    Raises:
        TrainingDiverged: a number is no longer finite.
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
            extra = {}
            if evaluate_untrained and not history:
                extra = {"recall@1_untrained": trainer.evaluate()["recall@1"]}
            for epoch in range(len(history) + 1, recipe.epochs + 1):
                history = [*history, trainer.run_epoch(epoch) | extra]
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
        self.network = Network(recipe, load_weights=checkpoint is None).to(device)
        self.optimizer = build_optimizer(self.network, recipe)
        self.loss = LOSSES[recipe.loss.name](**recipe.loss.arguments()).to(device)
        self.miner = MINERS[recipe.miner.name](**recipe.miner.arguments())
        self.schedule = SCHEDULES[recipe.schedule.name](
            self.optimizer,
            epochs=recipe.epochs,
            steps_per_epoch=len(self._batches(1)),
            **recipe.schedule.arguments(),
        )
        if checkpoint is not None:
            self._restore(checkpoint)
        else:
            initialise_clusters(self.network, self._images, data.train_rows, recipe.seed, threads)

    def save(self, checkpoint: Path, history: list[dict[str, Any]]) -> None:
        """Write the checkpoint of the last epoch of ``history``."""
        state = {
            "epoch": history[-1]["epoch"],
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        metrics = {"data": self.data.fingerprint, "history": history}
        save_checkpoint(checkpoint, self.network, metrics, state)

    def _restore(self, checkpoint: Path) -> None:
        fill_from_checkpoint(self.network, checkpoint)
        state = torch.load(checkpoint / TRAINING_STATE, map_location="cpu", weights_only=True)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        logger.info("going on after epoch %d from %s", state["epoch"], checkpoint)

    def run_epoch(self, epoch: int) -> dict[str, Any]:
        """Train an epoch, validate, and return its metrics."""
        started = perf_counter()
        seed_everything(self.recipe.seed, epoch)
        metrics = {"epoch": epoch, **self._train_epoch(epoch), **self.evaluate(epoch)}
        self.schedule.end_epoch(metrics["recall@1"])
        metrics["seconds"] = perf_counter() - started
        metrics["peak_memory_mb"] = peak_memory_mb(self.device)
        logger.info(
            "epoch %d: loss %.4f, recall@1 %.1f, %.1f s, %.0f images/s",
            *(metrics[k] for k in ("epoch", "loss", "recall@1", "seconds", "images_per_s")),
        )
        return metrics

    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        started = perf_counter()
        batches = self._batches(epoch)
        extra: dict[str, float] = {}
        losses: list[float] = []
        num_images, lr = 0, 0.0
        self.network.train()
        images, labels = self._load(batches[0])
        for step, rows in enumerate(batches):
            lr = self.optimizer.param_groups[0]["lr"]
            images = augment(
                images, self.recipe.augmentation, seed=self.recipe.seed, epoch=epoch, step=step
            )
            loss = compute_loss(self.loss, self.miner, self.network(images), labels)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            gradient = self._gradient_size()
            self.optimizer.step()
            self.schedule.end_step()
            # Read from disk while a GPU is still at work: the way back has not been waited for.
            if step + 1 < len(batches):
                images, labels = self._load(batches[step + 1])
            losses.append(self._require_finite(loss, gradient, epoch, step, lr))
            if self._started is not None:
                extra["seconds_to_first_step"] = perf_counter() - self._started
                self._started = None
            num_images += len(rows)
            if self._progress is not None:
                self._progress(epoch, step + 1, len(batches), num_images)
        seconds = perf_counter() - started
        return {
            "loss": math.fsum(losses) / len(losses),
            "lr": lr,
            "num_batches": len(batches),
            "train_seconds": seconds,
            "images_per_s": num_images / seconds,
            **extra,
        }

    def evaluate(self, epoch: int = 0) -> dict[str, Any]:
        """Return recall on the validation split, with its interval; ``epoch`` is for messages."""
        database = self._describe(self.data.database_rows, epoch)
        queries = self._describe(self.data.query_rows, epoch)
        ns = self.recipe.evaluation.recall_at
        # A database of fewer images than N is ranked as a whole.
        ranked = nearest(database, queries, min(max(ns), len(database)), threads=self._threads)
        hits = first_hits(ranked, self.data.positives)
        found = {n: int(((hits >= 0) & (hits < n)).sum()) for n in ns}
        low, high = wilson_interval(found[1], len(queries))
        recalls = {f"recall@{n}": 100 * found[n] / len(queries) for n in ns}
        interval = {"recall@1_low": low, "recall@1_high": high}
        return {**recalls, **interval, "num_queries": len(queries)}

    def _describe(self, rows: NDArray[np.int64], epoch: int) -> NDArray[np.float32]:
        """Return the descriptors (len(rows), D) of rows of the store."""
        described = np.empty((len(rows), self.network.dimension), dtype=np.float32)
        with self.network.evaluating() as network:
            for start in range(0, len(rows), _BLOCK):
                images = self._images(rows[start : start + _BLOCK])
                described[start : start + _BLOCK] = network(images).cpu().numpy()
        if not np.isfinite(described).all():
            raise TrainingDiverged(
                f"epoch {epoch}: a descriptor is not finite with {self._optimizer_text()}; "
                "lower optimizer.lr"
            )
        return described

    def _batches(self, epoch: int) -> list[NDArray[np.int64]]:
        batch = self.recipe.batch
        batches = epoch_batches(
            self.data.place_ids,
            self.data.positions_m,
            places_per_batch=batch.places,
            images_per_place=batch.images_per_place,
            min_images_per_place=batch.min_images_per_place,
            min_distance_m=batch.min_distance_m,
            seed=self.recipe.seed,
            epoch=epoch,
        )
        if not batches:
            least = batch.min_images_per_place
            if trainable_places(self.data.place_ids, least) >= 2:
                raise UserError(
                    f"batch.min_distance_m: no two places of the data are {batch.min_distance_m:g} "
                    "m apart, so none may share a batch; lower it"
                )
            raise UserError(
                f"batch.min_images_per_place: the data has no two places with "
                f"{least} or more images; lower it, or give more images"
            )
        return batches

    def _load(self, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return the images (B, 3, H, W) and labels (B,) of rows of the training data."""
        labels = torch.from_numpy(self.data.place_ids[chosen])
        return self._images(self.data.train_rows[chosen]), labels.to(self.device)

    def _images(self, rows: NDArray[np.int64]) -> Tensor:
        # (B, H, W, 3) in memory is what channels-last means, so the permutation copies nothing.
        images = torch.from_numpy(self.data.pixels[rows]).permute(0, 3, 1, 2)
        if self.device.type == "cuda":
            return images.pin_memory().to(self.device, non_blocking=True)
        return images.to(self.device)

    def _gradient_size(self) -> Tensor:
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        return torch.nn.utils.get_total_norm(gradients)

    def _require_finite(
        self, loss: Tensor, gradient: Tensor, epoch: int, step: int, lr: float
    ) -> float:
        value, size = torch.stack([loss.detach().float(), gradient.float()]).tolist()
        if math.isfinite(value) and math.isfinite(size):
            return float(value)
        what = f"the loss is {value}" if not math.isfinite(value) else "a gradient is not finite"
        raise TrainingDiverged(
            f"epoch {epoch}, step {step + 1}: {what} (loss {value:.4g}) with "
            f"{self._optimizer_text()}, lr {lr:.3g} at this step; lower optimizer.lr"
        )

    def _optimizer_text(self) -> str:
        optimizer = self.recipe.optimizer
        return f"optimizer {optimizer.name}, optimizer.lr {optimizer.lr:g}"


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
