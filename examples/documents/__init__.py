"""Documents that are uploaded, converted, analysed and reviewed: an event-sourced application.

Uses `girih.client` and nothing else. README.md walks through it.
"""
