"""Folders that measure a bundle on a device of the user's: what ``profile --emit`` writes."""
