// The part of /metrics about the health of tasks: what probes found, and what workers pass over.

import Telemetry

extension MetricsPage {
    static func appendHealth(
        _ source: TrafficSource, _ reading: TasksReading, to text: inout PrometheusText
    ) {
        var counts: [String: UInt64] = [:]
        var avoided: UInt64 = 0
        for task in reading.tasks.values {
            counts[task.health, default: 0] += 1
            if task.avoidingWorkers > 0 { avoided += 1 }
        }
        text.family("interlock_checked_tasks", .gauge, "Tasks that are probed, by what the probes found.")
        for health in ["healthy", "unhealthy", "unknown"] { text.sample(["health": health], counts[health] ?? 0) }
        text.family("interlock_tasks_avoided", .gauge, "Tasks that a worker passes over because requests failed.")
        text.sample(avoided)
        text.family(
            "interlock_task_avoidances_total", .counter, "Times that a worker took a task out because requests failed.")
        text.sample(source.counters.total(.tasksAvoided))
        text.family("interlock_health_probes_total", .counter, "Probes of health checks, by result.")
        for result in ProbeResult.allCases { text.sample(["result": result.name], reading.probes.total(result)) }
        text.family("interlock_health_probes_active", .gauge, "Probes under way now.")
        text.sample(reading.probes.active)
        text.family("interlock_health_probes_waiting", .gauge, "Probes that are due and wait for others to end.")
        text.sample(reading.probes.waiting)
        text.family(
            "interlock_service_panic", .gauge, "1 for each service none of whose tasks passes its check: all are tried."
        )
        for service in reading.panickingServices { text.sample(["service": service], UInt64(1)) }
        text.family(
            "interlock_panic_attempts_total", .counter, "Attempts on tasks that fail their check, for lack of others.")
        text.sample(source.counters.total(.panicAttempts))
    }
}
