"""Paper: figures at a column's width, and tables, of a folder. It knows no jobs and no studio."""
