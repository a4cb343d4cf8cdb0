"""Runs: one picture from its recipe to its folder, stopped, resumed and compared. They know no explanations and no pages."""
