"""The ACP proxy: agent to an editor, client to a parent agent, and between them a door to background subagents."""
