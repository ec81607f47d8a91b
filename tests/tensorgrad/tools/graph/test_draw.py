"""The drawings are well-formed, and show every node and edge."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import tensorgrad as tg
from tensorgrad.tools.graph.draw import dot, svg

SVG = "{http://www.w3.org/2000/svg}"


def test_dot() -> None:
    text = dot([['say "x" \\', "second"], ["b"]], [(0, 1)])
    assert text == (
        "digraph {\n  node [shape=box, fontname=monospace, fontsize=10];\n"
        '  0 [label="say \\"x\\" \\\\\\nsecond"];\n  1 [label="b"];\n  0 -> 1;\n}\n'
    )


def test_svg() -> None:
    root = ET.fromstring(svg([["a < b", "second"], ["c"], ["d"]], [(0, 1), (0, 2), (1, 2), (0, 2)], [0.0, 0.5, 1.0]))
    assert [text.text for text in root.iter(SVG + "text")] == ["a < b", "second", "c", "d"]
    assert len(list(root.iter(SVG + "path"))) == 4
    fills = [rect.get("fill") for rect in root.iter(SVG + "rect")]
    assert fills == ["white", "#ffffff", "#c8dcff", "#91b9ff"]


def test_a_graph_is_drawn_whole() -> None:
    x = tg.ones((4, 4), requires_grad=True)
    g = tg.graph(tg.softmax(x @ x).sum())
    root = ET.fromstring(g.svg())
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    boxes = [rect for rect in root.iter(SVG + "rect") if rect.get("x")]
    assert len(boxes) == len(g.nodes)
    for box in boxes:
        left, top, w, h = (float(box.get(name, "nan")) for name in ("x", "y", "width", "height"))
        assert 0 <= left <= left + w <= width
        assert 0 <= top <= top + h <= height
    assert len(re.findall(" -> ", g.dot())) == sum(len(node.parents) for node in g.nodes)
