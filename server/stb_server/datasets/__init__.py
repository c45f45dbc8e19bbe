"""Datasets in and out of the store: releases, dumps, checks and differences."""
