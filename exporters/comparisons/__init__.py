"""What a bundle is compared with: its original, int8 and int4 of it, other models, as files."""
