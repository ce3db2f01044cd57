"""How pytest-xdist shares the tests out among its workers (`make test`).

Tests of one module stay together, because they share fixtures; so do modules that share a server which takes long to
start. What takes long comes first, so that no worker is left with it alone at the end.
"""

from xdist.scheduler import LoadScopeScheduling

# Folders and modules, in the order in which they are begun, and the unit of work that they belong to.
_FIRST = {
    "tests/e2e/triton_server": "triton",
    "tests/contract/test_backend_contract.py": "triton",
    "tests/e2e/test_up.py": "up",
    "tests/e2e/pods": "pods",
    "tests/e2e/watching": "watching",
    "tests/e2e/clients": "clients",
}


class SharingOut(LoadScopeScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        return next((unit for place, unit in _FIRST.items() if nodeid.startswith(place)), nodeid.partition("::")[0])


def turn(nodeid: str) -> int:
    """Return when a test's turn comes; among equals, the order in which tests are found holds."""
    return next((number for number, place in enumerate(_FIRST) if nodeid.startswith(place)), len(_FIRST))
