"""Which node takes a request, as arithmetic: no clock but the one given, no I/O, no metrics; also simulated."""
