"""What operators watch: Prometheus metrics of the bridge, the gateway and the worker.

Each of the three is a process of its own and serves those that it moves. Names begin with
`limsflow_`; times are in seconds.
"""

from prometheus_client import Counter, Gauge, Histogram, start_http_server

STARTING_S = (0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60, 300, 1800)
RUNNING_S = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400)

queue_depth = Gauge(
    "limsflow_queue_depth", "Messages that wait in a queue of the broker.", ["queue"]
)
messages = Counter(
    "limsflow_messages_total",
    "Messages of the broker by what became of them: started, repeated, forwarded, dead, put_back.",
    ["outcome"],
)
hand_off_seconds = Histogram(
    "limsflow_hand_off_seconds",
    "From the arrival of a message or request to its durable hand-off to Prefect.",
    ["source"],
    buckets=STARTING_S,
)
requests = Counter(
    "limsflow_requests_total",
    "Requests to the gateway by endpoint and HTTP status.",
    ["endpoint", "status"],
)
runs_started = Counter(
    "limsflow_runs_started_total", "Runs that this worker began.", ["deployment"]
)
runs_ended = Counter(
    "limsflow_runs_ended_total",
    "Runs that this worker saw end, by state (completed, failed, crashed, cancelled) and the "
    "class of the failure.",
    ["deployment", "state", "failure"],
)
time_to_start_seconds = Histogram(
    "limsflow_time_to_start_seconds",
    "From the moment a run was due to the start of its process.",
    ["deployment"],
    buckets=STARTING_S,
)
run_seconds = Histogram(
    "limsflow_run_seconds", "How long a run's process lived.", ["deployment"], buckets=RUNNING_S
)
slots_in_use = Gauge("limsflow_slots_in_use", "Runs of this worker that go on now.")


def serve_metrics(port: int | None, host: str = "127.0.0.1") -> None:
    """Serve the metrics of this process at `/metrics`; None: not at all."""
    if port is not None:
        start_http_server(port, addr=host)
