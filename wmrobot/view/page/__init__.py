"""The window's own process: what it draws, who may come in, and what people do there."""
