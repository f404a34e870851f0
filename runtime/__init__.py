"""A bundle in, results and the truth about its cost out."""
