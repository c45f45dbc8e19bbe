"""Logs and traces."""

from stb_core.telemetry.logs import mask_secrets
