// What the operator is told about certificates: each problem once when it appears, and once when it is gone.

internal import Kernel
internal import Telemetry

struct TLSReportLog {
    private let log: Log
    private var report = TLSReport()
    private var told: Set<TLSReport.Problem> = []
    private var toldNs: UInt64 = 0

    init(log: Log) { self.log = log }

    /// Tells what is new in a report.
    mutating func tell(_ report: TLSReport) {
        self.report = report
        tellAgain(afterNs: 0)
    }

    /// Tells what time has made of the last report, if it is that long ago.
    mutating func tellAgain(afterNs: UInt64) {
        guard Clock.monotonicNs() &- toldNs >= afterNs else { return }
        toldNs = Clock.monotonicNs()
        let problems = report.problems(atSeconds: Int64(Clock.realtimeNs() / 1_000_000_000))
        guard !problems.isEmpty || !told.isEmpty else { return }
        let now = Set(problems)
        for problem in problems where !told.contains(problem) {
            let fields: Log.Fields = [
                "fault": .string(problem.fault.rawValue), "host": .string(problem.subject),
                "file": .string(problem.file), "reason": .string(problem.explanation),
            ]
            if problem.isRefused {
                log.error("TLS is refused", fields)
            } else {
                log.warning("TLS problem", fields)
            }
        }
        for problem in told where !now.contains(problem) {
            log.info(
                "TLS problem solved",
                [
                    "fault": .string(problem.fault.rawValue), "host": .string(problem.subject),
                    "file": .string(problem.file),
                ])
        }
        told = now
    }
}
