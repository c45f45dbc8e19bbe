"""Logs and traces."""

from stb_core.telemetry.logs import mask_secrets
from stb_core.telemetry.secrets import SecretMask, mask_of, remember_secrets
