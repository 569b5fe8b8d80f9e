"""The gateway: a process of its own, one for each store, through which all that agents send out goes.

It outlives the manager that started it, is found by the next one, and ends when nobody wants it any more.
"""
