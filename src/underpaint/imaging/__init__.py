"""Imaging: pictures in and out, their formats, borders and faces. It knows no networks and no runs."""
