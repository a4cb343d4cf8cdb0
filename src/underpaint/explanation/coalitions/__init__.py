"""Coalitions: the same run with some of its style layers, painted, judged and kept in a table."""
