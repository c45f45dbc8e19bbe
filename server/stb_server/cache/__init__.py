"""The response cache: memory, Redis and the store."""

from stb_server.cache.keep import AnswerKeeper
from stb_server.cache.redis_connection import RedisGoneError, RedisLink, RedisRefusedError, check_url
from stb_server.cache.redis_tier import RedisCache
from stb_server.cache.store_reader import open_reader
from stb_server.cache.store_writer import StoreWriter
from stb_server.cache.tiers import MemoryCache, Recorded, Tiers
