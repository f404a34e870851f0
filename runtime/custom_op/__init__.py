"""The native kernel: C++ sources, and how they are built."""
