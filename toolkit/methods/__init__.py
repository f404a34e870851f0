"""Ways to compress a table, behind one function: :func:`.compress.compress`."""
