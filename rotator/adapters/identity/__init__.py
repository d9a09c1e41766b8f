"""Platforms that say who a process is."""
