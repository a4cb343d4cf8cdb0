"""Account: a single run followed step by step; who moved what, and what a judge thought of it."""
