"""Networks by name: their layers, their weights and the way back to pixels. They know no losses and no runs."""
