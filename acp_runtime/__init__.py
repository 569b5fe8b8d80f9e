"""A manager that runs persistent coding agents in containers and never loses what they did."""

__version__ = "0.1.0"
