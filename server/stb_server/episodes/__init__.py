"""Episodes over HTTP: any agent, in any language, takes a query, calls its tools and hands in an answer."""
