"""The holder as seen from this side: its frames, its errors, a channel to its agent, and its journal afterwards.

The program itself is `sandbox/programs/holder.c`; what both sides say to each other is in docs/framing.md.
"""
