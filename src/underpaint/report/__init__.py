"""Report: one page of a folder, everything inline, no request to any host. It knows no jobs and no studio."""
