"""Storage: files that are whole or not there, and who may write them. It knows no pictures, no networks and no runs."""
