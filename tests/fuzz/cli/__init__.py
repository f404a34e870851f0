"""Random command lines over damaged files: each ends with 0 or 2, and leaves nothing."""
