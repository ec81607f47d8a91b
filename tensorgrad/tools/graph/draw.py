"""Boxes with lines of text, connected by edges: in the language of Graphviz, and as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tensorgrad.tools.graph.placement import place

__all__ = ["dot", "svg"]

Edges = Sequence[tuple[int, int]]

# Pixels, for a fixed-width font.
CHARACTER, LINE, MARGIN, GAP_X, GAP_Y = 7.2, 15, 8, 24, 36


def dot(boxes: Sequence[Sequence[str]], edges: Edges) -> str:
    """A digraph; an edge leads from a parent to the node computed from it."""
    lines = ["digraph {", "  node [shape=box, fontname=monospace, fontsize=10];"]
    for i, texts in enumerate(boxes):
        label = "\\n".join(text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
        lines.append(f'  {i} [label="{label}"];')
    lines += [f"  {a} -> {b};" for a, b in edges]
    return "\n".join([*lines, "}", ""])


def svg(boxes: Sequence[Sequence[str]], edges: Edges, shades: Sequence[float]) -> str:
    """A drawing; `shades`, 0 .. 1, say how dark each box is."""
    sizes = [
        (max(map(len, texts)) * CHARACTER + 2 * MARGIN, float(len(texts) * LINE + 2 * MARGIN - 4)) for texts in boxes
    ]
    places, paths = place(sizes, edges, gap_x=GAP_X, gap_y=GAP_Y)
    width = max(x + w / 2 for (x, _), (w, _) in zip(places, sizes, strict=True)) + MARGIN
    height = max(y + h / 2 for (_, y), (_, h) in zip(places, sizes, strict=True)) + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="monospace" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    parts += [f'<path d="{_curve(path)}" fill="none" stroke="#888"/>' for path in paths]
    for texts, (x, y), (w, h), shade in zip(boxes, places, sizes, shades, strict=True):
        fill = "#{:02x}{:02x}ff".format(*(round(255 - part * shade) for part in (110, 70)))
        parts.append(
            f'<rect x="{x - w / 2:.1f}" y="{y - h / 2:.1f}" width="{w:.1f}" height="{h:.1f}" rx="4" '
            f'fill="{fill}" stroke="#444"/>'
        )
        for i, text in enumerate(texts):
            weight = ' font-weight="bold"' if i == 0 else ""
            top = y - h / 2 + MARGIN + 8 + i * LINE
            parts.append(f'<text x="{x:.1f}" y="{top:.1f}" text-anchor="middle"{weight}>{escape(text)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """A smooth line down through the points."""
    (x, y), *others = points
    text = f"M{x:.1f} {y:.1f}"
    for next_x, next_y in others:
        middle = (y + next_y) / 2
        text += f" C{x:.1f} {middle:.1f} {next_x:.1f} {middle:.1f} {next_x:.1f} {next_y:.1f}"
        x, y = next_x, next_y
    return text
