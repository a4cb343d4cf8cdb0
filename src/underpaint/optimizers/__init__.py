"""Optimizers: how the pixels move, step by step, and the exact account of what moved them. They know no folders."""
