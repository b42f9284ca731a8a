"""Random numbers of augmentation: found again from seed, epoch, step and name."""

import itertools

import torch

from vgray.places.draws import generator_for, uniform


def test_every_part_of_the_name_counts_and_the_same_is_found_again() -> None:
    names = list(itertools.product((0, 1, 2**32 - 1), (1, 2), (0, 1), ("flip", "blur")))
    assert len(names) == 24
    drawn = {uniform(1, 0.0, 1.0, generator_for(*name)).item() for name in names}
    assert len(drawn) == 24
    again = {uniform(1, 0.0, 1.0, generator_for(*name)).item() for name in names}
    assert again == drawn


def test_numbers_fill_their_range() -> None:
    numbers = uniform(10_000, -2.0, 6.0, generator_for(0, 1, 0, "blur"))
    assert numbers.shape == (10_000,) and numbers.dtype == torch.float32
    assert -2 <= numbers.min() < -1.98 and 5.98 < numbers.max() <= 6
    assert abs(numbers.mean() - 2) < 0.1
