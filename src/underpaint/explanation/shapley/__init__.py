"""Shapley: what game theory reads off a table of coalitions, with its noise. It knows no pictures and no files."""
