"""The relay as seen from this side, where engine and manager share no sockets: its frames, its streams, and the link.

The program itself is `sandbox/programs/relay.c`; what both sides say to each other is in docs/framing.md.
"""
