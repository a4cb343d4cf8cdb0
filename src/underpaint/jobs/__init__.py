"""Jobs: runs and explanations as child processes, queued, stopped and resumed. Knows nothing of pages."""
