"""Hooks of hosts: what a host's model is told at its user's prompt, and when it is about to stop."""
