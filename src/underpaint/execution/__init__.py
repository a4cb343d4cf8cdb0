"""Execution: on what a run computes, with how many threads and how much memory. It knows no pictures and no networks."""
