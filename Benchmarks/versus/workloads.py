"""What the load generators are told, what one unit of each workload is, and what is wanted of interlock in it."""

import dataclasses

MEBIBYTE = 1 << 20


@dataclasses.dataclass(frozen=True)
class Workload:
    """`count` units take a few seconds on a machine of 2020; new connections are bounded by it (see README.md)."""

    name: str
    #: What one unit is, for which the CPU time is told.
    unit: str
    #: The port of the proxies: "http", "tls", "passthrough" or "stream".
    entry: str
    #: The generator's program, and its arguments after PORT, CONNECTIONS and the count.
    program: str
    connections: int
    count: int
    arguments: tuple[str, ...]
    #: Ratio to haproxy that is wanted at most, and the one that nobody can go below by much; None where not known.
    wanted: float | None = None
    floor: float | None = None

    @property
    def is_staged(self) -> bool:
        """Whether the generator says "ready", so that its first connections are no part of what is measured."""
        return self.program != "load"


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("small", "request", "http", "load", 64, 60_000, ("get", "/1k", "1024"), 0.90),
        Workload("download", "request", "http", "load", 16, 3_000, ("get", "/1m", str(MEBIBYTE)), 0.70),
        Workload("upload", "request", "http", "load", 16, 3_000, ("put", "/upload", str(MEBIBYTE)), 0.70),
        Workload("tls-small", "request", "tls", "tls_load", 64, 50_000, ("keep", "{certificate}"), 0.93, 0.83),
        Workload("tls-full", "handshake", "tls", "tls_load", 16, 2_000, ("full", "{certificate}"), 0.86, 0.81),
        Workload("tls-resumed", "handshake", "tls", "tls_load", 16, 3_000, ("resumed", "{certificate}"), 0.95),
        Workload(
            "passthrough", "block", "passthrough", "stream_load", 16, 4_000,
            ("keep", str(MEBIBYTE), "pass.test"), 0.52, 0.43),
        Workload("passthrough-new", "connection", "passthrough", "stream_load", 16, 5_000,
                 ("new", "64", "pass.test"), 0.97),
        Workload("ping-pong", "round trip", "stream", "stream_load", 64, 80_000, ("keep", "64", "-"), 1.00),
    )
}
