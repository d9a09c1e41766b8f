"""Figures, each as a ratio against a floor or a peer measured in the same run. Never a test."""
