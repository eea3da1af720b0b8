"""Hypothesis without a time limit per example: on a busy machine it would fail tests at random."""

from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
