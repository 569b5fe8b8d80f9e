"""The terminal view: the tree of subagents, what one of them does, and the keys that act on it."""
