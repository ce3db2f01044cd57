"""Every metric, log format and span of Weir is defined here."""
