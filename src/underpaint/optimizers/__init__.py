"""Optimizers: how the pixels move, step by step, and how a step depends on the gradient. They know no ledger, no folders."""
