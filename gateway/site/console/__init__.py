"""The console: what `gateway.site.applications` serves below `/console/`."""
