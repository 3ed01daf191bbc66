//! Model providers over HTTP: OpenAI-compatible and Anthropic, limits, retries, prices.
