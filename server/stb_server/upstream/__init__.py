"""Real APIs: reached directly or through a proxy, guarded on the way out and judged on the way in."""

from stb_server.upstream.answer_quality import Quality, Rule, assess
