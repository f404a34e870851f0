"""A budget becomes an allocation of bytes:
what every row gets, and what the frequent ones get more.
"""
