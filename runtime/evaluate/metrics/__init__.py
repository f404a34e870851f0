"""The measures of quality, one a file."""
