"""Limits for a child process, and the resource-limited targets that are made of them."""
