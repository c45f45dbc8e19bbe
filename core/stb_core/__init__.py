"""The words that every room uses: values, errors, settings, model client and store."""
