"""Hours and weathers, and how a sheet looks under them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from placewise.town.camera import Vector
from placewise.town.sheet import RGB, WALL, Sheet, tone

Triple = tuple[float, float, float]
NO_SUN: Triple = (0.0, 0.0, 0.0)
SNOW = (232, 237, 245, 255)


@dataclass(frozen=True, slots=True)
class Light:
    """An hour and a weather.

    ``sun`` and ``ambient`` multiply paint; ``height_deg`` is the sun's; ``haze_m`` the distance over which
    63 % of the contrast is lost; ``lamps`` the share of panes that are lit; ``cover`` the clouds' share of the sky;
    ``weather`` is dry, rain or snow.
    """

    zenith: RGB
    horizon: RGB
    sun: Triple
    ambient: Triple
    height_deg: float = 40.0
    haze_m: float = 900.0
    lamps: float = 0.0
    cover: float = 0.3
    weather: str = "dry"

    @property
    def sunny(self) -> bool:
        """Whether the sun throws shadows."""
        return any(self.sun)

    @property
    def dark(self) -> bool:
        """Whether the street lamps are on."""
        return self.lamps > 0.3


LIGHTS = {
    "morning": Light((118, 160, 212), (244, 226, 206), (0.68, 0.60, 0.48), (0.50, 0.53, 0.60), 28, cover=0.35),
    "noon": Light((62, 124, 204), (190, 216, 238), (0.64, 0.62, 0.56), (0.53, 0.56, 0.62), 50, cover=0.45),
    "golden": Light((98, 130, 186), (252, 208, 150), (0.84, 0.60, 0.32), (0.44, 0.44, 0.51), 20, cover=0.4),
    "overcast": Light((160, 168, 178), (208, 211, 214), NO_SUN, (0.88, 0.90, 0.93), haze_m=400, cover=0.9),
    "rain": Light((96, 104, 116), (152, 160, 168), NO_SUN, (0.74, 0.77, 0.81), 0, 250, 0.25, 0.9, "rain"),
    "fog": Light((196, 200, 204), (206, 209, 212), NO_SUN, (0.76, 0.78, 0.81), 0, 65, 0.15, 0.2),
    "snow": Light((186, 192, 204), (216, 221, 229), NO_SUN, (0.82, 0.85, 0.92), 0, 160, 0.1, 0.7, "snow"),
    "dusk": Light((40, 54, 104), (236, 152, 112), NO_SUN, (0.58, 0.54, 0.62), 0, 500, 0.55, 0.4),
    "night": Light((10, 14, 34), (42, 46, 72), NO_SUN, (0.40, 0.40, 0.50), 0, 500, 0.6, 0.2),
    "wet night": Light((14, 17, 32), (50, 50, 66), NO_SUN, (0.44, 0.44, 0.50), 0, 400, 0.45, 0.3, "rain"),
}


@dataclass(frozen=True, slots=True)
class Weather:
    """One view's light: the entry of ``LIGHTS``, the direction to the sun (unit vector), and the view's own dice."""

    light: Light
    sun: Vector
    rng: Generator

    @property
    def front_lit(self) -> bool:
        """Whether the sun shines on the house's front."""
        return self.light.sunny and bool(self.sun[2] > 0)

    def curve(self, gain: Triple, depth_m: float) -> list[int]:
        """A lookup table for RGBA: paint times light, veiled by haze; alpha stays."""
        haze = 1 - math.exp(-depth_m / self.light.haze_m)
        levels = np.arange(256.0)
        pairs = zip(gain, self.light.horizon, strict=True)
        bands = [np.clip(levels * factor * (1 - haze) + far * haze, 0, 255) for factor, far in pairs]
        return [int(level) for level in np.concatenate([*bands, levels])]


def develop(sheet: Sheet, weather: Weather, incidence: float, depth_m: float) -> Image.Image:
    """A sheet under a light: sun and shadow, haze, snow, lit panes.

    Args:
        sheet: what to look at.
        weather: the light.
        incidence: cosine of the angle between the sun and the sheet's normal.
        depth_m: the distance over which haze lies.

    Returns:
        Premultiplied ``RGBa`` of the sheet's size.
    """
    light = weather.light
    share = incidence if light.sunny and incidence > 0 else 0.0
    red, green, blue = (a + share * s for a, s in zip(light.ambient, light.sun, strict=True))
    paint = sheet.colour.point(weather.curve((red, green, blue), depth_m))
    if sheet.casts:
        red, green, blue = (a * (1.0 if share else 0.62) for a in light.ambient)
        dim = sheet.colour.point(weather.curve((red, green, blue), depth_m))
        paint.paste(dim, (0, 0), shadows(sheet, weather.sun if share else None))
    if light.weather == "snow":
        cover_with_snow(paint, sheet)
    if light.lamps and sheet.lights:
        light_panes(paint, sheet, weather)
    return paint.convert("RGBa")


def shadows(sheet: Sheet, sun: Vector | None) -> Image.Image:
    """Where a relief lies in its own shadow, ``L``; without a sun, the soft shade below whatever stands out.

    The highest ray from any point towards the light is found by doubling: each round looks twice as far.
    """
    step_cm = 3.0
    towards = np.array([0.1, 1.0, 1.0]) if sun is None else sun
    across, down = np.array([-towards[0], towards[1]]) / towards[2] * sheet.px_per_m / 100
    highest = sheet.relief
    for power in range(5):
        fall = step_cm * 2**power
        moved = ImageChops.offset(highest, round(across * fall), round(down * fall))
        highest = ImageChops.lighter(highest, moved.point([max(0, round(level - fall)) for level in range(256)]))
    mask = ImageChops.subtract(highest, sheet.relief).point([min(255, level * 48) for level in range(256)])
    return mask.filter(ImageFilter.BoxBlur(3)) if sun is None else mask


def cover_with_snow(paint: Image.Image, sheet: Sheet) -> None:
    """Snow on roofs and pavements, and on every ledge that the relief shows."""
    mask = Image.new("L", paint.size)
    pen = ImageDraw.Draw(mask)
    for outline in sheet.snow:
        pen.polygon(outline, 215)
    if sheet.casts:
        steps = ImageChops.subtract(sheet.relief, ImageChops.offset(sheet.relief, 0, 3))
        mask = ImageChops.lighter(mask, steps.point([255 if level > 8 else 0 for level in range(256)]))
    mask = ImageChops.multiply(mask.filter(ImageFilter.BoxBlur(1)), paint.getchannel("A"))
    paint.paste(SNOW, (0, 0), mask)


def light_panes(paint: Image.Image, sheet: Sheet, weather: Weather) -> None:
    """Lamps behind some of the panes; bars and frames, known by their relief, stay dark."""
    glow, mask = Image.new("RGB", paint.size), Image.new("L", paint.size)
    glow_pen, mask_pen = ImageDraw.Draw(glow), ImageDraw.Draw(mask)
    for outline, colour in sheet.lights:
        if weather.rng.random() < weather.light.lamps:
            glow_pen.polygon(outline, tone(colour, weather.rng.uniform(0.75, 1.0)))
            mask_pen.polygon(outline, 235)
    open_glass = sheet.relief.point([0 if WALL - 20 < level < WALL else 255 for level in range(256)])
    shining = Image.blend(glow, ImageChops.multiply(glow, sheet.colour.convert("RGB")), 0.25)
    paint.paste(shining, (0, 0), ImageChops.multiply(mask, open_glass))
