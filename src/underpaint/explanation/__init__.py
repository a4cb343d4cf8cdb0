"""Explanation: which layer painted what, how sure that is, and does it hold without the layer. It knows no pages."""
