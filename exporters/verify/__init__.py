"""What every export is checked for, on the files as written."""
