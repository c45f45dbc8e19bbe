"""Language models behind OpenAI-compatible endpoints: requests, replies, retries and structured output."""
