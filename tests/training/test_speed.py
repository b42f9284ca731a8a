"""The estimate of a training's speed."""

from time import perf_counter

from vgray.recipe import Recipe
from vgray.training.speed import measure_speed


def test_speed_is_what_the_clock_says() -> None:
    recipe = Recipe(image_size=(32, 32)).with_settings(
        {"backbone.weights": "never-read.pth", "backbone.crop_last": 3, "batch.places": 4}
    )
    started = perf_counter()
    speed = measure_speed(recipe, threads=1)
    seconds = perf_counter() - started
    assert speed.describing > speed.training
    # The timed step of 16 images was a part of the whole.
    assert speed.training > 16 / seconds
