"""What exporter and runtime agree on: the manifest, its files, the inputs that a graph is fed."""
