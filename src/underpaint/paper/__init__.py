"""For a paper: figures at a column's width, and tables."""
