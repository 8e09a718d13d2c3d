"""Execution of notebooks: module discovery, fork server, papermill."""
