"""Texts that the guard's authors did not see while they wrote it: disguises, ordinary lines, and PII in company."""
