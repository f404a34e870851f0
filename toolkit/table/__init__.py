"""What a packed table is: its values, its file, its bits."""
