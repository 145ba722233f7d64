"""The documentation page: what `gateway.site` serves under `/docs`."""
