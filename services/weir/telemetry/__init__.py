"""Every metric and log format of Weir is defined here."""
