"""The figures of a profile as data, in a terminal, as a page."""
