"""The documentation page: what `gateway.site.pages` serves under `/docs`."""
