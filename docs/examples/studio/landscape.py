"""The sample picture: a landscape at dusk, drawn with Pillow and different each time. heavy.Pictures calls it."""

from __future__ import annotations

import math
import random

from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]

WIDTH, HEIGHT = 1800, 1200  # pixels
# The sky's top, its horizon and the nearest hill.
MOODS: list[tuple[Colour, Colour, Colour]] = [
    ((38, 52, 110), (255, 176, 124), (24, 22, 48)),
    ((22, 92, 125), (255, 221, 170), (12, 46, 56)),
    ((92, 58, 122), (255, 158, 148), (40, 18, 52)),
    ((64, 120, 170), (250, 226, 190), (22, 62, 50)),
]


def draw_landscape() -> Image.Image:
    """Sky, sun and five ranges of hills."""
    top, horizon, near = random.choice(MOODS)
    fade = [min(255, 2 * value) for value in range(256)]  # from black above to white, reached half-way down
    shade = Image.linear_gradient("L").resize((WIDTH, HEIGHT)).point(fade)
    picture = Image.composite(_plain(horizon), _plain(top), shade)
    _draw_sun(picture)
    draw = ImageDraw.Draw(picture)
    for layer in range(5):
        nearness = (layer + 1) / 5
        base = HEIGHT * (0.5 + 0.4 * nearness**1.3)
        draw.polygon(_ridge(base, 50 + 80 * nearness), fill=_mix(horizon, near, nearness**0.8))
    return picture.filter(ImageFilter.GaussianBlur(0.8))


def _plain(colour: Colour) -> Image.Image:
    return Image.new("RGB", (WIDTH, HEIGHT), colour)


def _mix(far: Colour, near: Colour, part: float) -> Colour:
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(far, near, strict=True))
    return red, green, blue


def _draw_sun(picture: Image.Image) -> None:
    x, y = random.uniform(0.2, 0.8) * WIDTH, random.uniform(0.3, 0.5) * HEIGHT
    for radius, blur, strength in ((260, 90, 120), (85, 2, 255)):  # first the glow, then the disc
        mask = Image.new("L", picture.size)
        ImageDraw.Draw(mask).ellipse((x - radius, y - radius, x + radius, y + radius), fill=strength)
        picture.paste(_plain((255, 244, 214)), mask=mask.filter(ImageFilter.GaussianBlur(blur)))


def _ridge(base: float, height: float) -> list[tuple[float, float]]:
    """The outline of one range of hills: a few waves added up, closed below the picture."""
    waves = [(random.uniform(0.002, 0.012), random.uniform(0, math.tau), random.uniform(0.3, 1)) for _ in range(4)]
    line = [
        (float(x), base - height * sum(size * math.sin(x * pace + shift) for pace, shift, size in waves) / 2)
        for x in range(0, WIDTH + 1, 6)
    ]
    return [*line, (WIDTH, HEIGHT), (0, HEIGHT)]
