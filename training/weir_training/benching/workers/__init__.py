"""Programs that hold one engine each and are asked in lines of JSON. They run in the peers' own environments.

Such an environment sees `weir_training` and nothing else of Weir, so a worker imports only the standard library,
`weir_training.benching.workers.lines` and its peer's packages.
"""
