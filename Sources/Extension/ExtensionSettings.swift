// What an extension is to do with snapshots: write another load balancer's configuration, or run a command.

public import Render

/// A load balancer whose configuration can be written.
public struct ExtensionTarget: Sendable {
    public var name: String
    public var render: @Sendable (RenderInput) -> RenderOutput
    /// Words for a command; `{file}` is the main file to look at, `{directory}` where the files are.
    public var checkCommand: [String]
    public var reloadCommand: [String]

    public init(
        name: String, checkCommand: [String], reloadCommand: [String],
        render: @escaping @Sendable (RenderInput) -> RenderOutput
    ) {
        self.name = name
        self.render = render
        self.checkCommand = checkCommand
        self.reloadCommand = reloadCommand
    }

    public static let nginx = ExtensionTarget(
        name: "nginx", checkCommand: ["nginx", "-t", "-q", "-c", "{file}"],
        reloadCommand: ["nginx", "-c", "{file}", "-s", "reload"]
    ) { NginxConfig.render($0) }

    public static let haproxy = ExtensionTarget(
        name: "haproxy", checkCommand: ["haproxy", "-c", "-q", "-f", "{file}"],
        reloadCommand: ["systemctl", "reload", "haproxy"]
    ) { HAProxyConfig.render($0) }
}

public struct ExtensionSettings: Sendable {
    public enum Work: Sendable {
        case configure(ExtensionTarget, RenderSettings, CertificateReading)
        /// The command gets each snapshot as JSON on standard input.
        case run([String])
    }

    public var work: Work
    /// For each command.
    public var commandTimeoutMs = 30_000
    /// From the begin of one reload, or run, to the next.
    public var intervalMs = 1_000
    /// What failed is tried again after this time, each time after twice as long.
    public var firstRetryMs = 2_000
    public var longestRetryMs = 60_000

    public init(work: Work) { self.work = work }
}
