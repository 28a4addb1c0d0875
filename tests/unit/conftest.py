"""The Hypothesis profile of the unit tests: no deadline, as no test depends on time."""

from hypothesis import HealthCheck, settings

settings.register_profile("timeless", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("timeless")
