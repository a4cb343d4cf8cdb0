"""Losses: what is minimised, term by term. They know no optimiser and no runs."""
