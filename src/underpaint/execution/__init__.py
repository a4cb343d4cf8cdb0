"""Execution: on what a run computes, in which processes, with how many threads and how much memory. It knows no pictures."""
