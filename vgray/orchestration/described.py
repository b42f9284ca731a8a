"""Descriptors that a report needs: those that are there are used, the others are extracted."""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from vgray.errors import UserError
from vgray.orchestration.extraction import extract_all
from vgray.orchestration.extraction_request import Request, describe_request
from vgray.orchestration.extraction_tally import Outcome
from vgray.reports.image_sets import DataSet
from vgray.retrieval.description import FILE, Description, read_description
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.shards import shards

Counting = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Shows progress under a label: the callback takes how many are done, and of how many."""


@dataclass(frozen=True)
class Wanted:
    """A model's descriptors of some splits of a data set."""

    model: Path
    """A checkpoint."""
    name: str
    """Of the model, for people."""
    data: DataSet
    splits: tuple[str, ...]
    train_images: int | None = None
    """At most so many images of the training split."""


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

    def get_all(self, wanted: Sequence[Wanted]) -> list[Descriptors]:
        """Return the descriptors that are wanted, in their order.

        A folder is used that has them, whoever made it and whatever it is called. All others are
        extracted together. A new folder is named after the model, its hash, the data and their
        fingerprint, so that what is extracted is found again; an extraction that was interrupted
        goes on.

        Raises:
            UserError: a model is damaged, images cannot be read, or the disk is full.
        """
        there: dict[int, Path] = {}
        missing: dict[object, _Folder] = {}
        for number, each in enumerate(wanted):
            request = Request(
                each.model, each.data.uri, each.splits, self.root, train_images=each.train_images
            )
            description = describe_request(request, each.data.manifest)
            found = self._find(description)
            if found is not None:
                self.say(f"{_title(each)}: reused {found}")
                there[number] = found
                continue
            # Of the training split there may be a part only, which is no part of other extractions.
            key = *description.identity.values(), each.train_images, "train" in each.splits
            if key not in missing:
                name = _folder_name(each, description)
                missing[key] = _Folder(each, replace(request, out=self.root / name), [])
            missing[key].add(number, each.splits)
        if missing:
            self._extract(list(missing.values()))
        there |= {number: each.request.out for each in missing.values() for number in each.numbers}
        return [Descriptors(there[number]) for number in range(len(wanted))]

    def _extract(self, folders: Sequence["_Folder"]) -> None:
        titles = {
            each.request.out: _title(replace(each.first, splits=each.request.splits))
            for each in folders
        }

        def finished(request: Request, outcome: Outcome) -> None:
            known = outcome.images_per_s is not None
            speed = f" at {outcome.images_per_s:,.0f} images/s" if known else ""
            skipped = f", {outcome.num_skipped:,} skipped" if outcome.num_skipped else ""
            self.say(
                f"{titles[request.out]}: extracted {outcome.num_described:,} images{speed}"
                f"{skipped} into {outcome.folder}"
            )

        with self.counting("extracting") as progress:
            extract_all(
                [each.request for each in folders],
                manifests={each.request.data: each.first.data.manifest for each in folders},
                address=self.address,
                command=self.command,
                progress=progress,
                finished=finished,
                say=self.say,
            )

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


@dataclass
class _Folder:
    """A folder that is to be made or completed."""

    first: Wanted
    request: Request
    numbers: list[int]
    """Of those that want it."""

    def add(self, number: int, splits: Sequence[str]) -> None:
        self.numbers.append(number)
        both = tuple(dict.fromkeys([*self.request.splits, *splits]))
        self.request = replace(self.request, splits=both)


def _title(wanted: Wanted) -> str:
    return f"{wanted.name} x {wanted.data.name}, {' and '.join(wanted.splits)}"


def _folder_name(wanted: Wanted, description: Description) -> str:
    parts = [wanted.name, description.model_hash[:8]]
    parts += [wanted.data.name, description.fingerprint[:8]]
    parts += ["train"] if "train" in wanted.splits else []
    return re.sub(r"[^\w.+-]+", "-", "-".join(parts))
