"""Who waits, where requests go, and what happens to them there."""

from typing import Final

from tools.dashboards.spec import Board, Choice, Limit, Panel, Query, Row, heat, mean, quantiles, rate

_QUEUE: Final = (
    Panel(
        "Waiting and running",
        "Requests that wait, that run, and how many the gateway has learned that nodes can run at once.",
        "short",
        [
            Query("sum(weir_gateway_queue_depth)", "waiting"),
            Query("sum(weir_gateway_requests_in_flight)", "in flight"),
            Query("sum(weir_gateway_admission_limit)", "may run"),
        ],
    ),
    Panel(
        "Tokens that wait",
        "Prompts and longest answers of the requests in the queue: what they may cost.",
        "short",
        [Query("sum(weir_gateway_queue_tokens)", "tokens")],
    ),
    Panel(
        "Turned away",
        "key: its own bound. system: the queue is full. hopeless: it would wait too long. timeout: it did.",
        "reqps",
        [Query(rate("weir_gateway_admission_refused_total", "reason"), "{{reason}}")],
        kind="bars",
    ),
    Panel(
        "Time in the queue",
        "Half, 95 and 99 of 100 requests wait no longer.",
        "s",
        quantiles("weir_gateway_queue_wait_seconds", 0.5, 0.95, 0.99),
        limits=[Limit(1, "orange"), Limit(5)],
    ),
    Panel(
        "Time in the queue, all",
        "How many requests waited how long: the darker, the more.",
        "s",
        heat("weir_gateway_queue_wait_seconds"),
        kind="heatmap",
        width=16,
    ),
)

_POOLS: Final = (
    Panel(
        "Requests by pool",
        "`cache`: answered from memory. `none`: refused before a node was asked.",
        "reqps",
        [Query(rate("weir_gateway_requests_total", "backend"), "{{backend}}")],
        kind="bars",
    ),
    Panel(
        "Share of each pool",
        "Of the answers that a node gave: when GPUs are full or away, the share of CPU nodes grows.",
        "percentunit",
        [
            Query(
                'sum by (backend) (rate(weir_gateway_requests_total{backend!~"none|cache"}[$__rate_interval]))'
                " / on () group_left () (sum(rate(weir_gateway_requests_total"
                '{backend!~"none|cache"}[$__rate_interval])) > 0)',
                "{{backend}}",
            )
        ],
        max_value=1,
    ),
    Panel(
        "Failed attempts",
        "timeout: no word in time. connect: not reached. overload: the node was full. protocol: it failed.",
        "reqps",
        [
            Query(
                rate("weir_gateway_upstream_errors_total", "backend, reason", where='backend=~"$backend"'),
                "{{backend}} {{reason}}",
            )
        ],
        kind="bars",
    ),
    Panel(
        "Second attempts",
        "Retries on another node, and failures that were not tried again because too many were.",
        "reqps",
        [
            Query(
                rate("weir_gateway_upstream_retries_total", "backend", where='backend=~"$backend"'),
                "{{backend}} tried again",
            ),
            Query(rate("weir_gateway_retry_budget_exhausted_total"), "not tried again"),
        ],
    ),
    Panel(
        "Answers cut short",
        "client: the caller left. upstream: the node failed midway. drain: the gateway had to leave.",
        "reqps",
        [Query(rate("weir_gateway_stream_aborted_total", "side"), "{{side}}")],
        kind="bars",
    ),
    Panel(
        "Tokens for nobody",
        "Generated and not delivered: the caller left, the guard cut, a deadline passed, something failed.",
        "short",
        [Query(rate("weir_gateway_wasted_tokens_total", "reason"), "{{reason}}/s")],
        kind="bars",
    ),
)

_WELL = "min by (backend, node) (weir_gateway_node_healthy * on (namespace, pod, instance, node) group_left (backend)"
_NODES: Final = (
    Panel(
        "Nodes, as gateways see them",
        "away: the last probe failed, or its canary did. Of several gateways the one that sees it worst counts.",
        "short",
        [Query(f'{_WELL} weir_gateway_node_info{{backend=~"$backend"}})', "{{backend}} {{node}}")],
        kind="states",
        states=((0, "away", "red"), (1, "well", "green")),
        width=12,
    ),
    Panel(
        "Circuits",
        "open: the node fails what it is asked and is avoided; half-open: a canary decides.",
        "short",
        [Query("max by (node) (weir_gateway_circuit_state)", "{{node}}")],
        kind="states",
        states=((0, "closed", "green"), (1, "half-open", "yellow"), (2, "open", "red")),
        width=12,
    ),
    Panel(
        "Requests at nodes",
        "Of all gateways, at their last probes.",
        "short",
        [Query("sum by (node) (weir_gateway_node_in_flight)", "{{node}}")],
    ),
    Panel(
        "Pace",
        "How many times as long as others of its kind a node takes; above 4, and suddenly, it is ejected.",
        "short",
        [Query("max by (node) (weir_gateway_node_pace)", "{{node}}")],
        limits=[Limit(2, "orange"), Limit(4)],
    ),
    Panel(
        "Why that node",
        "fastest: it would be done first. prefix: it read the beginning before. standby: the first pool has none",
        "reqps",
        [Query(rate("weir_gateway_routed_total", "backend, why", where='backend=~"$backend"'), "{{backend}} {{why}}")],
        kind="bars",
    ),
    Panel(
        "Pools",
        "Nodes that may take requests. standby: their flavour is not proven to answer as the first pool's does.",
        "short",
        [Query("max by (pool, use) (weir_gateway_pool_nodes)", "{{pool}} {{use}}")],
    ),
    Panel(
        "Nodes per model",
        "Nodes that may take requests for a model; 0: it is answered 503.",
        "short",
        [Query("max by (model) (weir_gateway_model_nodes)", "{{model}}")],
    ),
    Panel(
        "Looking for nodes",
        "By DNS and file. failed: a name was not found, or the file was refused; the last list stays.",
        "ops",
        [Query(rate("weir_gateway_discoveries_total", "result"), "{{result}}")],
        kind="bars",
    ),
    Panel(
        "Queue in nodes",
        "Requests that wait in a node instead of the gateway: few, unless others send it requests too.",
        "short",
        [Query("node:queue_depth", "{{engine}} {{instance}}")],
    ),
    Panel(
        "Running in nodes",
        "Requests that decode.",
        "short",
        [Query("node:running", "{{engine}} {{instance}}")],
    ),
    Panel(
        "Key/value memory",
        "Share in use; above 90 % requests begin to give theirs back.",
        "percentunit",
        [Query("node:kv_usage:ratio", "{{engine}} {{instance}}")],
        limits=[Limit(0.8, "orange"), Limit(0.9)],
        max_value=1,
    ),
    Panel(
        "Tokens of nodes",
        "Generated a second, by node of any kind.",
        "short",
        [Query("node:generated_tokens:rate5m", "{{engine}} {{instance}}")],
    ),
    Panel(
        "Sequences in one step",
        "What batching brings: mean number of answers that one run of the model carries on.",
        "short",
        [Query("node:batch_size:mean", "{{engine}} {{instance}}")],
    ),
    Panel(
        "First token at nodes, p95",
        "Without the gateway's queue and guard: the difference to the caller's is theirs.",
        "s",
        [Query("node:first_token_seconds:p95", "{{engine}} {{instance}}")],
    ),
)

_EDGE: Final = (
    Panel(
        "Draining",
        "1 while a process was told to leave and finishes its answers.",
        "short",
        [
            Query("max by (pod, instance) (weir_gateway_draining)", "gateway {{instance}}"),
            Query("max by (pod, instance) (weir_node_draining)", "node {{instance}}"),
        ],
        kind="states",
        states=((0, "serving", "green"), (1, "draining", "orange")),
    ),
    Panel(
        "Connections cut at the edge",
        "For how a request was sent, or because its answer was not read: broken or hostile clients.",
        "short",
        [Query(rate("weir_gateway_refused_early_total", "reason"), "{{reason}}/s")],
        kind="bars",
    ),
    Panel(
        "Repeated requests",
        "Attempts with a known idempotency key: they wait for the first one, get its answer, or are refused.",
        "reqps",
        [Query(rate("weir_gateway_idempotent_attempts_total", "outcome"), "{{outcome}}")],
        kind="bars",
    ),
    Panel(
        "Response cache",
        "Requests that could be answered from memory, and how many were.",
        "reqps",
        [Query(rate("weir_gateway_cache_requests_total", "result"), "{{result}}")],
        kind="bars",
    ),
    Panel(
        "Size of the response cache",
        "Answers kept, and their bytes.",
        "short",
        [
            Query("sum(weir_gateway_cache_entries)", "answers"),
            Query("sum(weir_gateway_cache_bytes)", "bytes"),
        ],
    ),
    Panel(
        "Requests before admission",
        "All that came, also those that no node could take: what autoscaling from zero looks at.",
        "reqps",
        [
            Query(rate("weir_gateway_incoming_requests_total", "model"), "{{model}}"),
            Query(rate("weir_gateway_embedded_texts_total"), "texts embedded"),
            Query(mean("weir_gateway_queue_wait_seconds"), "mean wait (s)"),
        ],
    ),
)


def board() -> Board:
    return Board(
        uid="weir-routing",
        title="Weir / Gateway and routing",
        about="Who waits, which pool answers, what fails on the way, and which nodes are avoided.",
        rows=(Row("Queue", _QUEUE), Row("Where requests go", _POOLS), Row("Nodes", _NODES), Row("Edge", _EDGE)),
        choices=(Choice("backend", "weir_gateway_node_info", "backend"),),
    )
