"""Checkpoints in JupyterLab's file browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator, Page

    from .running import Lab

CHECKPOINTS = ["model.safetensors", "model.pt", "model.pth", "model.ckpt", "arrays.npz", "array.npy"]
OTHERS = ["firmware.bin", "notes.txt"]

COLOURS = """icon => {
    const colours = [getComputedStyle(icon.querySelector('path')).fill];
    for (let element = icon; element; element = element.parentElement) {
        colours.push(getComputedStyle(element).backgroundColor);
    }
    return colours.filter(colour => colour !== 'rgba(0, 0, 0, 0)').slice(0, 2);
}"""


def contrast(icon: Locator) -> float:
    """WCAG's contrast ratio between an icon and what is behind it."""

    def luminance(colour: str) -> float:
        channels = [int(channel) / 255 for channel in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted(map(luminance, icon.evaluate(COLOURS)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_checkpoints_have_our_icon(
    lab: Lab,
    open_lab: Callable[[str], Page],
    use_theme: Callable[[str], None],
    screenshot: Callable[[str], None],
    theme: str,
) -> None:
    folder = lab.root / f"models-{theme}"
    folder.mkdir()
    for name in CHECKPOINTS + OTHERS:
        (folder / name).touch()
    page = open_lab(folder.name)
    use_theme(theme)

    def icon(name: str) -> Locator:
        items = page.locator("#filebrowser .jp-DirListing-item")
        return items.filter(has=page.get_by_text(name, exact=True)).locator(".jp-DirListing-itemIcon svg")

    for name in CHECKPOINTS:
        expect(icon(name)).to_have_attribute("data-icon", "theta-jupyter:checkpoint")
    for name in OTHERS:
        expect(icon(name)).not_to_have_attribute("data-icon", "theta-jupyter:checkpoint")
    assert contrast(icon("model.safetensors")) >= 3
    screenshot(f"file-browser-{theme.lower()}")
