"""Views: one stage, one camera, one light, and whoever passes at that moment."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from placewise.town import things
from placewise.town.camera import Camera, Card, Vector, draw, upright
from placewise.town.light import Light, Weather, develop
from placewise.town.sheet import Sheet, clouds, pick
from placewise.town.stage import Stage, distance_key

VEHICLE_COLOURS = ((176, 46, 42), (44, 74, 128), (214, 214, 210), (60, 62, 66), (206, 160, 54), (64, 110, 92))
GLOW_M = 2.4


def render_stage(stage: Stage, camera: Camera, weather: Weather) -> Image.Image:
    """A place through a camera under a light, before lens and sensor: painted from the far to the near."""
    canvas = paint_sky(camera, weather)
    distance = float(camera.at[2])

    def show(card: Card, incidence: float, depth_m: float) -> None:
        if place := camera.footprint(card):
            draw(canvas, place, develop(card.sheet, weather, incidence, depth_m))

    show(stage.far, 0.4, 85.0)
    cards = sorted([*stage.furniture, *passers(weather.rng)], key=distance_key)
    draw_ground(canvas, stage, camera, weather)
    for card in cards:
        draw_shadow(canvas, camera, ground_shadow(card, weather), weather)
    for card in stage.sides:
        show(card, float(-np.sign(card.across[2]) * weather.sun[0]), distance + 4)
    for card in stage.houses:
        show(card, float(weather.sun[2]), distance)
    for card in cards if weather.front_lit else ():
        draw_shadow(canvas, camera, wall_shadow(card, weather.sun), weather)
    for card in cards:
        show(card, abs(float(weather.sun[2])), distance - float(card.corner[2]))
    for lamp in stage.lamps if weather.light.dark else ():
        draw_glow(canvas, camera, lamp)
    return canvas


def paint_sky(camera: Camera, weather: Weather) -> Image.Image:
    """Sky, clouds and, below the horizon, bare far ground."""
    light, (width, height) = weather.light, camera.size
    columns, rows = width // 4, height // 4
    down = np.clip(np.arange(rows) * 4 / max(1, camera.horizon), 0, 1)[:, None, None]
    sky = np.array(light.zenith) * (1 - down) + np.array(light.horizon) * down
    puffs = clouds(weather.rng, (2 * rows, columns), 4)[::2] * 0.9 + light.cover - 0.4
    bright = min(1.0, sum(light.ambient) / 1.5 - 0.15)
    white = np.array(light.horizon) * (1 - bright) * 0.8 + np.array([250, 250, 250]) * bright
    share = np.clip(puffs, 0, 1)[..., None] * 0.85
    pixels = np.clip(sky * (1 - share) + white * share, 0, 255).astype(np.uint8)
    canvas = Image.fromarray(pixels).resize(camera.size, Image.Resampling.BICUBIC)
    red, green, blue = (round(c * 0.45 + 66 * a) for c, a in zip(light.horizon, light.ambient, strict=True))
    canvas.paste((red, green, blue), (0, min(height, max(0, camera.horizon)), width, height))
    return canvas


def draw_ground(canvas: Image.Image, stage: Stage, camera: Camera, weather: Weather) -> None:
    """The ground; in rain, half a mirror of the houses."""
    distance = float(camera.at[2])
    paint = develop(stage.ground.sheet, weather, float(weather.sun[1]), distance * 0.7)
    if weather.light.weather == "rain":
        paint = Image.blend(Image.new("RGBa", paint.size), paint, 0.75)
        for card in stage.houses:
            image = Card(card.sheet, card.corner * [1, 0, 1], card.across, card.down)
            if place := camera.footprint(image):
                seen = develop(card.sheet, weather, 0.0, distance)
                draw(canvas, place, seen.transpose(Image.Transpose.FLIP_TOP_BOTTOM))
    if place := camera.footprint(stage.ground):
        draw(canvas, place, paint)


def ground_shadow(card: Card, weather: Weather) -> Card:
    """A standing card thrown onto the ground along the light: ``p - sun * (height of p / height of the sun)``."""
    sun = weather.sun if weather.front_lit else np.array([0.0, 1.0, 0.12])
    slant = sun / sun[1]
    return Card(card.sheet, card.corner - slant * card.corner[1], card.across, card.down - slant * card.down[1])


def wall_shadow(card: Card, sun: Vector) -> Card:
    """A standing card thrown onto the house's front along the light: ``p - sun * (z of p / z of the sun)``."""
    return Card(card.sheet, card.corner - sun * (card.corner[2] / sun[2]), card.across, card.down)


def draw_shadow(canvas: Image.Image, camera: Camera, card: Card, weather: Weather) -> None:
    """A card's silhouette as darkness; of a shadow on a wall, only what is above the ground."""
    strength = 0.45 if weather.light.sunny else 0.25
    alpha = card.sheet.colour.getchannel("A").point([round(level * strength) for level in range(256)])
    if card.down[1]:
        kept = card.corner[1] / -card.down[1]
        if kept <= 0:
            return
        alpha = alpha.crop((0, 0, alpha.width, max(1, round(alpha.height * kept))))
        card = Card(card.sheet, card.corner, card.across, card.down * kept)
    if place := camera.footprint(card):
        black = Image.new("L", alpha.size)
        draw(canvas, place, Image.merge("RGBa", (black, black, black, alpha)))


def passers(rng: Generator) -> Iterator[Card]:
    """Whoever passes when the photo is taken."""
    for _ in range(min(3, int(rng.poisson(0.6)))):
        kind = str(rng.choice(["car", "van", "bus"], p=[0.83, 0.14, 0.03]))
        lane = float(rng.choice([5.2, 8.2])) if kind == "car" else 5.2
        yield upright(things.paint_vehicle(kind, pick(rng, VEHICLE_COLOURS)), rng.uniform(-11, 11), lane)
    for _ in range(min(6, int(rng.poisson(1.6)))):
        yield upright(things.paint_person(rng), rng.uniform(-8, 8), float(rng.choice([1.6, 3.0, 3.9, 9.6])))


def draw_glow(canvas: Image.Image, camera: Camera, lamp: Vector) -> None:
    """The halo of a lamp: premultiplied colour without any alpha only adds light."""
    across, down = np.array([GLOW_M, 0.0, 0.0]), np.array([0.0, -GLOW_M, 0.0])
    if place := camera.footprint(Card(Sheet(1, 1, 1), lamp - across - down, 2 * across, 2 * down)):
        steps = np.linspace(-1, 1, 96)
        fall = np.clip(1 - np.hypot(steps[:, None], steps[None, :]), 0, 1) ** 3
        bands = [Image.fromarray((fall * level).astype(np.uint8)) for level in (255, 214, 140, 0)]
        draw(canvas, place, Image.merge("RGBa", bands))


def expose(canvas: Image.Image, light: Light, size: tuple[int, int], rng: Generator) -> Image.Image:
    """Bloom, falling rain or snow, then what lens and sensor do: vignette, exposure, white balance, noise."""
    if light.dark:
        bloom = canvas.point([max(0, level - 150) for level in range(256)] * 3).reduce(4)
        bloom = bloom.filter(ImageFilter.GaussianBlur(5)).resize(canvas.size, Image.Resampling.BILINEAR)
        canvas = ImageChops.add(canvas, bloom)
    if light.weather != "dry":
        canvas.paste((224, 230, 238), (0, 0), falling(canvas.size, light.weather, rng))
    pixels = np.asarray(canvas.resize(size, Image.Resampling.BOX), np.float32)
    rows, columns = np.linspace(-1, 1, size[1])[:, None], np.linspace(-1, 1, size[0])[None, :]
    vignette = (1 - 0.13 * (rows**2 + columns**2)).astype(np.float32)[..., None]
    metering = (112 / max(20.0, float(pixels.mean()))) ** 0.4  # a camera brightens what is dark, but not all the way
    gain = (metering * rng.uniform(0.93, 1.08) * (1 + 0.02 * rng.standard_normal(3))).astype(np.float32)
    grain = np.float32(rng.uniform(1.0, 4.0) * (1.6 if light.dark else 1.0))
    noise = grain * rng.standard_normal(pixels.shape, np.float32)
    return Image.fromarray(np.clip(pixels * vignette * gain + noise, 0, 255).astype(np.uint8))


def falling(size: tuple[int, int], weather: str, rng: Generator) -> Image.Image:
    """A mask of rain streaks or snow flakes."""
    mask = Image.new("L", size)
    pen = ImageDraw.Draw(mask)
    wind = rng.uniform(-0.25, 0.25)
    for x, y, near in rng.random((160, 3)) * [size[0], size[1], 1.0]:
        if weather == "rain":
            long = size[1] * (0.03 + 0.06 * near)
            pen.line((x, y, x + wind * long, y + long), round(30 + 60 * near), 1 + round(near))
        else:
            radius = size[1] * (0.002 + 0.006 * near**3)
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), round(150 + 90 * near))
    return mask.filter(ImageFilter.BoxBlur(1))
