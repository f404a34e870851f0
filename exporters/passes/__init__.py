"""What is done to a graph: one ir-py pass a file."""
