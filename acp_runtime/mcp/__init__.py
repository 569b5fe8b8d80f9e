"""The tools as a Model Context Protocol server: one server object over any pair of streams."""
