// What `interlock feed-init` says when it has made its files: what each is, and which commands come next. It holds no
// key.

import Discovery
import Kernel
import TLS
import Telemetry

extension FeedInit {
    static func report(_ outcome: Outcome) -> [String] {
        let options = outcome.options
        let verb = outcome.isAuthorityNew ? "made" : "kept"
        var lines = [
            "\(verb) \(options.authorityPath): the feed's CA, until \(outcome.authority.lastDay). It makes more "
                + "credentials: keep it, and keep it off the nodes."
        ]
        for (item, lastDay) in outcome.made {
            lines.append("made \(options.path(of: item.fileName)): \(item.title), until \(lastDay)")
        }
        for (item, lastDay, isUpToDate) in outcome.kept {
            let path = options.path(of: item.fileName)
            lines.append(
                isUpToDate
                    ? "kept \(path): \(item.title), until \(lastDay)"
                    : "kept \(path): it is of another CA, or of another step of its rotation: make it anew (--renew)")
        }
        if options.mode == .rotated { lines += [""] + step(outcome.authority.stage) }
        guard !outcome.made.isEmpty else { return lines }
        lines += [""] + commands(outcome)
        lines.append("Remove the credentials afterwards: Docker keeps them. Only the CA's file is needed again.")
        return lines
    }

    private static func step(_ stage: FeedAuthorityFile.Stage) -> [String] {
        let next = "When every controller, proxy and extension runs with its new credential, and not before: "
        return switch stage {
        case .announced:
            [
                "Step 1 of 3: a new CA is made known. The credentials are of the old one and trust both.",
                next + "feed-init --rotate, for step 2.",
            ]
        case .takenOver:
            [
                "Step 2 of 3: the new CA signs. The credentials are of the new one and trust both.",
                next + "feed-init --rotate, for step 3.",
            ]
        case .settled: ["Step 3 of 3: the old CA is not trusted any more."]
        }
    }

    /// No label of a service is to have it attached to anything.
    private static let create = "docker secret create --label com.docker.lb.\(Labels.reservedMark)=true"

    private static func commands(_ outcome: Outcome) -> [String] {
        let options = outcome.options
        func path(_ item: Wanted) -> String { quoted(options.path(of: item.fileName)) }
        guard options.mode != .missing else {
            return ["Next, on a manager:"]
                + outcome.made.map { "  \(create) \($0.item.secretName) \(path($0.item))" }
        }
        // A secret cannot be changed and not be removed while it is used.
        let suffix = timestamp()
        return [
            "Next, on a manager; OLD is the secret that the service has now (docker service inspect SERVICE):"
        ]
            + outcome.made.flatMap { item, _ in
                let name = String(item.secretName.prefix(64 - suffix.count)) + suffix
                return [
                    "  \(create) \(name) \(path(item))",
                    "  docker service update --secret-rm OLD --secret-add "
                        + "source=\(name),target=\(item.secretName) SERVICE",
                ]
            }
    }

    /// As in `_20261129-0930`.
    private static func timestamp() -> String {
        let now = CivilTime(realtimeNs: Clock.realtimeNs())
        func padded(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return "_\(now.year)\(padded(now.month))\(padded(now.day))-\(padded(now.hour))\(padded(now.minute))"
    }

    /// As a shell reads it.
    private static func quoted(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy { byte in
            (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
                || Array("/._-".utf8).contains(byte)
        }
        return isPlain
            ? text : "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
    }
}
