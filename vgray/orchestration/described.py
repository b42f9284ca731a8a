"""Descriptors that a report needs: those that are there are used, the others are extracted."""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from vgray.errors import UserError
from vgray.orchestration.extraction import Request, describe_request, extract
from vgray.reports.image_sets import DataSet
from vgray.retrieval.descriptors import FILE, Description, Descriptors, read_description, shards

Counting = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Shows progress under a label: the callback takes how many are done, and of how many."""


@dataclass(frozen=True)
class DescriptorFolders:
    """The folders of descriptors below one folder.

    Ray is only started for what is not there.
    """

    root: Path
    address: str | None
    command: Sequence[str]
    say: Callable[[str], None]
    """Takes a line for each model and data set."""
    counting: Counting
    """Shows the progress of an extraction."""

    def get(
        self,
        model: Path,
        name: str,
        data: DataSet,
        splits: Sequence[str],
        *,
        train_images: int | None = None,
    ) -> Descriptors:
        """Return a model's descriptors of some splits of a data set.

        A folder is used that has them, whoever made it and whatever it is called. A new one is
        named after the model, its hash, the data and their fingerprint, so that what is extracted
        is found again; an extraction that was interrupted goes on.

        Args:
            model: a checkpoint.
            name: of the model, for people.
            data: the data set.
            splits: of it.
            train_images: at most so many images of the training split.

        Raises:
            UserError: the model is damaged, the images cannot be read, or the disk is full.
        """
        request = Request(
            model=model,
            data=data.uri,
            splits=tuple(splits),
            out=self.root,
            train_images=train_images,
        )
        wanted = describe_request(request, data.manifest)
        title = f"{name} x {data.name}, {' and '.join(splits)}"
        there = self._find(wanted)
        if there is not None:
            self.say(f"{title}: reused {there}")
            return Descriptors(there)
        out = self.root / _folder_name(name, data.name, wanted, "train" in splits)
        with self.counting(f"extracting {title}") as progress:
            outcome = extract(
                replace(request, out=out),
                address=self.address,
                command=self.command,
                progress=progress,
            )
        images_per_s = outcome.images_per_s or outcome.num_described / outcome.seconds
        skipped = f", {outcome.num_skipped:,} skipped" if outcome.num_skipped else ""
        self.say(
            f"{title}: extracted {outcome.num_described:,} images at "
            f"{images_per_s:,.0f} images/s{skipped} into {outcome.folder}"
        )
        return Descriptors(outcome.folder)

    def _find(self, wanted: Description) -> Path | None:
        for file in sorted(self.root.glob(f"*/{FILE}")):
            try:
                known = read_description(file.parent)
            except UserError as error:
                self.say(f"not used: {error}")
                continue
            has_parts = all(known.parts.get(part) == n for part, n in wanted.parts.items())
            if known.identity == wanted.identity and has_parts:
                files = (
                    shard.file
                    for part, number in wanted.parts.items()
                    for shard in shards(file.parent, part, number, known.shard_rows)
                )
                if all(each.is_file() for each in files):
                    return file.parent
        return None


def _folder_name(model: str, data: str, wanted: Description, is_training: bool) -> str:
    parts = [model, wanted.model_hash[:8], data, wanted.fingerprint[:8]]
    # Of the training split there may be a part only, which is no part of other extractions.
    parts += ["train"] if is_training else []
    return re.sub(r"[^\w.+-]+", "-", "-".join(parts))
