"""The policy: how it is written (`schema`), read (`loading`) and resolved to rules per profile (`resolving`)."""

from weir.guard.policy.errors import PolicyError
from weir.guard.policy.loading import default_policy, load_policy, parse_policy
from weir.guard.policy.policy_set import PolicySet

__all__ = ["PolicyError", "PolicySet", "default_policy", "load_policy", "parse_policy"]
