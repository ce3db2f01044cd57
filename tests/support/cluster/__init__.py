"""A cluster without a cluster: rendered manifests started as real processes in network namespaces.

A pod is a network namespace, its containers are sandboxes (bubblewrap) with the rendered user, capabilities, read-only
root, volumes, limits (cgroups), probes and grace times. Services are addresses that nftables spreads over ready pods,
NetworkPolicies are nftables rules. Not here: admission, the scheduler, CSI, operators, image pulls, load balancers.
"""
