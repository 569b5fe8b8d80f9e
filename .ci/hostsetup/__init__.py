"""What the two commands do to the machine itself: the Python environment and the container engine.

Standard library only, so that it runs before anything is installed. It is no part of the wheel.
"""
