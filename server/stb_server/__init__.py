"""The virtual API server: request → identity → cache → upstream → simulator → record."""
