// The way in: words and environment to a role, and every failure to one line on standard error with exit status 2.

import Glibc
import Kernel
import Model

@main
struct Interlock {
    static let version = "0.1.0"

    static func main() {
        do throws(Failure) {
            exit(try run())
        } catch {
            // What it quotes may be anybody's.
            write(error.line.harmless + "\n", to: 2)
            exit(error.status)
        }
    }

    /// Why the process ends: one line for the operator.
    struct Failure: Error {
        var line: String
        var status: Int32 = 2

        init(_ reason: some CustomStringConvertible, status: Int32 = 2) {
            line = "interlock: \(reason)"
            self.status = status
        }
    }

    private static func run() throws(Failure) -> Int32 {
        let arguments: Arguments
        let settings: Settings
        do throws(Arguments.UsageError) {
            arguments = try Arguments(parsing: Array(CommandLine.arguments.dropFirst()))
        } catch {
            throw Failure(error)
        }
        if arguments.request == .help {
            write(Help.text(), to: 1)
            return 0
        }
        if arguments.request == .role(.version) {
            write("interlock \(version)\n", to: 1)
            return 0
        }
        // Makes files and asks nothing of the environment.
        if arguments.request == .role(.feedInit) { return try FeedInit.run(arguments.words) }
        do throws(SettingsError) {
            settings = try SettingsLoader.load(environment: SettingsLoader.processEnvironment())
        } catch {
            throw Failure(error)
        }
        var role = settings.role
        if case .role(let wanted?) = arguments.request { role = wanted }
        switch role {
        case .allInOne: return try AllInOneRole.run(settings)
        case .controller: return try ControllerRole.run(settings)
        case .proxy: return try ProxyRole.run(settings)
        case .balancerExtension: return try ExtensionRole.run(settings, arguments)
        case .rollback: return try RemoteRole.rollback(settings, number: arguments.number)
        case .resume: return try RemoteRole.resume(settings)
        case .status: return try RemoteRole.status(settings, page: arguments.page)
        case .feedInit: return try FeedInit.run(arguments.words)
        case .check: return try CheckRole.run(settings, file: arguments.checkedFile)
        case .explain:
            guard let explain = arguments.explain else {
                throw Failure("explain needs a URL: \(ExplainArguments.usage)")
            }
            return try ExplainRole.run(settings, explain)
        case .demoBackend: return try DemoBackendRole.run(settings, arguments)
        case .render:
            guard let render = arguments.render else {
                throw Failure("render needs its target: \(RenderArguments.usage)")
            }
            return try RenderRole.run(settings, render)
        case .healthcheck: return Healthcheck.run(settings)
        case .version:
            write("interlock \(version)\n", to: 1)
            return 0
        }
    }

    /// Writes all of it to a descriptor; what cannot be written is lost.
    static func write(_ text: String, to descriptor: Int32) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }
}
