"""The recorded graph, to be read and looked at: as text, as dot, as SVG."""

from tensorgrad.tools.graph.nodes import Graph, GraphNode, graph

__all__ = ["Graph", "GraphNode", "graph"]
