"""One page of a run folder: everything inline, no request to any host."""
