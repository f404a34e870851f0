"""Which execution provider runs which node, where that cuts the graph, and what to change."""
