"""A process that renders places: ``python -m vgray.places.demo_city.worker SETTINGS FOLDER``.

It reads ranges of place numbers from standard input, one ``first stop`` a line, and answers each
with the number of photographs it wrote, or with ``failed`` and the reason. It is a plain process
rather than one of ``multiprocessing``, which would import the caller's main module again and so
could not be used from a notebook or a script without a guard.
"""

import json
import os
import signal
import sys
from pathlib import Path

from PIL import Image

from vgray.places.demo_city.hashing import generator
from vgray.places.demo_city.light import conditions
from vgray.places.demo_city.render import photograph
from vgray.places.demo_city.scene import scene_around
from vgray.places.demo_city.settings import CitySettings
from vgray.places.demo_city.survey import place, shots

JPEG_QUALITY = 90


def render_place(settings: CitySettings, number: int, images: Path) -> int:
    """Write the photographs of place ``number`` below ``images``; return how many they are."""
    at = place(settings, number)
    scene = scene_around(settings.seed, at.x_m, at.y_m, at.direction)
    planned = shots(settings, at)
    for shot in planned:
        weather = conditions(generator(shot.key, 1), shot.time_of_day, shot.month)
        pixels = photograph(scene, shot.camera, weather, shot.year, settings.width, settings.height)
        path = images / at.split / shot.role / shot.name
        Image.fromarray(pixels).save(path, quality=JPEG_QUALITY)
    return len(planned)


def main() -> None:
    """Serve ranges of places until standard input ends."""
    # Ctrl-C goes to the whole group; the parent ends its workers by itself, without tracebacks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = CitySettings(**json.loads(sys.argv[1]))
    images = Path(sys.argv[2])
    for line in sys.stdin:
        first, stop = map(int, line.split())
        try:
            answer = str(sum(render_place(settings, n, images) for n in range(first, stop)))
        except OSError as error:
            answer = f"failed {error.strerror or error}"
        try:
            os.write(sys.stdout.fileno(), f"{answer}\n".encode())
        except BrokenPipeError:
            return  # nobody waits for the answer: the parent was killed


if __name__ == "__main__":
    main()
