"""Examples have no deadline of their own: the machine may be busy, and time is measured elsewhere."""

from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
