"""The method of this project: a base code for every row, residual stages for the frequent ones."""
