"""Jobs: runs and explanations as child processes, queued, stopped and resumed. They know no pages of a studio."""
