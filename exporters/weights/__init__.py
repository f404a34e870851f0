"""The weights beside the table in fewer bits: fp16, int8, int4, or by a trellis."""
