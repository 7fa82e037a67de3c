// `interlock feed-init`: makes the feed's CA and the credentials of controllers, proxies and extensions, as files for
// the operator, who makes Docker secrets of them. It talks to nobody. What is there is kept unless it is told
// otherwise, and nothing is written before everything has been made.

import Glibc
import Kernel
import TLS

enum FeedInit {
    /// One credential.
    struct Wanted: Hashable {
        var role: FeedIdentity.Role
        var cluster = ""

        var fileName: String { FeedAuthority.fileName(role: role, cluster: cluster) }

        var title: String { cluster.isEmpty ? role.rawValue : "\(role.rawValue) of cluster \(cluster)" }

        /// For people who look into the certificate; X.509 has room for 64 characters.
        var commonName: String {
            String("Interlock \(role.rawValue)\(cluster.isEmpty ? "" : " ")\(cluster)".prefix(64))
        }

        /// A Docker secret's name has few characters to choose from, and at most 64 of them.
        var secretName: String {
            let name = "interlock_feed_\(role.rawValue)\(cluster.isEmpty ? "" : "_")\(cluster)"
            let plain = name.map { $0.isASCII && ($0.isLetter || $0.isNumber || "_.-".contains($0)) ? $0 : "-" }
            return String(plain.prefix(64))
        }
    }

    /// What was done.
    struct Outcome {
        var options: FeedInitOptions
        var authority: FeedAuthorityFile
        var isAuthorityNew: Bool
        var made: [(item: Wanted, lastDay: String)] = []
        var kept: [(item: Wanted, lastDay: String, isUpToDate: Bool)] = []
    }

    static func run(_ words: [String]) throws(Interlock.Failure) -> Int32 {
        let options: FeedInitOptions
        do throws(FeedInitOptions.UsageError) {
            options = try FeedInitOptions(parsing: words)
        } catch {
            throw Interlock.Failure(error)
        }
        if options.wantsHelp {
            Interlock.write(FeedInitOptions.usage, to: 1)
            return 0
        }
        let outcome = try make(options)
        Interlock.write(report(outcome).map { $0 + "\n" }.joined(), to: 1)
        return outcome.kept.allSatisfy(\.isUpToDate) ? 0 : 1
    }

    private static func make(_ options: FeedInitOptions) throws(Interlock.Failure) -> Outcome {
        try onDisk { () throws(SystemError) in try PrivateFile.makeDirectory(options.directory) }
        let wanted = wanted(options)
        let existing = existing(wanted, options)
        let (authority, isNew) = try authority(options, existing)
        var outcome = Outcome(options: options, authority: authority, isAuthorityNew: isNew)
        var texts: [String] = []
        for item in wanted {
            if options.mode == .missing, let credential = existing[item] {
                let isUpToDate = authority.isUpToDate(credential)
                outcome.kept.append((item, credential.identity.lastDay, isUpToDate))
                continue
            }
            let path = options.path(of: item.fileName)
            guard options.mode != .missing || !PrivateFile.exists(path) else {
                throw failure(
                    "\(path) is there and is not the credential of that name: move it away, or make it anew (--renew)")
            }
            let (text, lastDay) = try inTLS { () throws(TLSError) in try issue(item, authority, days: options.days) }
            texts.append(text)
            outcome.made.append((item, lastDay))
        }
        if isNew { try write(authority.pem, to: options.authorityPath) }
        for (made, text) in zip(outcome.made, texts) { try write(text, to: options.path(of: made.item.fileName)) }
        return outcome
    }

    private static func issue(
        _ item: Wanted, _ authority: FeedAuthorityFile, days: Int
    ) throws(TLSError) -> (text: String, lastDay: String) {
        let text = try authority.issue(
            role: item.role, cluster: item.cluster, commonName: item.commonName, days: days)
        // What is written is what a role will read.
        return (text, try FeedCredential(pem: Array(text.utf8)).identity.lastDay)
    }

    /// The controller, and a proxy and an extension for each cluster: the default one, those that are named, and when
    /// what is there is to be replaced, those that are there.
    private static func wanted(_ options: FeedInitOptions) -> [Wanted] {
        var clusters = [""]
        for name in options.clusters where !clusters.contains(name) { clusters.append(name) }
        if options.mode != .missing {
            for name in PrivateFile.names(in: options.directory) where name.hasSuffix(".pem") {
                guard let identity = credential(options.path(of: name))?.identity,
                    name == FeedAuthority.fileName(role: identity.role, cluster: identity.cluster),
                    !clusters.contains(identity.cluster)
                else { continue }
                clusters.append(identity.cluster)
            }
        }
        return [Wanted(role: .controller)]
            + clusters.flatMap { [Wanted(role: .proxy, cluster: $0), Wanted(role: .extension_, cluster: $0)] }
    }

    private static func existing(_ wanted: [Wanted], _ options: FeedInitOptions) -> [Wanted: FeedCredential] {
        var found: [Wanted: FeedCredential] = [:]
        for item in wanted {
            guard let credential = credential(options.path(of: item.fileName)) else { continue }
            let identity = credential.identity
            if identity.role == item.role, identity.cluster == item.cluster { found[item] = credential }
        }
        return found
    }

    private static func credential(_ path: String) -> FeedCredential? {
        guard case .success(let text) = SettingsLoader.readFile(path) else { return nil }
        return try? FeedCredential(pem: Array(text.utf8), acceptsExpired: true)
    }

    /// The CA as it will be, and whether its file must be written.
    private static func authority(
        _ options: FeedInitOptions, _ existing: [Wanted: FeedCredential]
    ) throws(Interlock.Failure) -> (FeedAuthorityFile, isNew: Bool) {
        let path = options.authorityPath
        guard options.mode != .forced, PrivateFile.exists(path) else {
            guard options.mode == .forced || options.mode == .missing else {
                throw failure("there is no CA in \(path): name the file that holds it with --authority")
            }
            guard options.mode == .forced || existing.isEmpty else {
                throw failure(
                    "there are credentials and no CA in \(path): name its file with --authority, or begin again "
                        + "(--force)")
            }
            return (try inTLS { () throws(TLSError) in try FeedAuthorityFile() }, true)
        }
        guard case .success(let text) = SettingsLoader.readFile(path) else {
            throw failure("cannot read \(path): \(String(cString: strerror(errno)))")
        }
        var authority = try inTLS(path) { () throws(TLSError) in try FeedAuthorityFile(pem: Array(text.utf8)) }
        guard options.mode == .rotated else { return (authority, false) }
        // To go on before all have the credentials of this step would part them.
        for (item, credential) in existing where !authority.isUpToDate(credential) {
            throw failure(
                "\(options.path(of: item.fileName)) is not of the CA's present step: finish that one first (--renew)")
        }
        authority = try inTLS { () throws(TLSError) in
            var next = authority
            try next.rotate()
            return next
        }
        return (authority, true)
    }

    private static func write(_ text: String, to path: String) throws(Interlock.Failure) {
        try onDisk { () throws(SystemError) in try PrivateFile.write(Array(text.utf8), to: path) }
    }

    private static func onDisk(_ body: () throws(SystemError) -> Void) throws(Interlock.Failure) {
        do throws(SystemError) {
            try body()
        } catch {
            let hint =
                error.code == SystemError.notPermittedCode ? "; in a container: --user \"$(id -u):$(id -g)\"" : ""
            throw failure("cannot \(error)\(hint)")
        }
    }

    private static func inTLS<Value>(
        _ path: String? = nil, _ body: () throws(TLSError) -> Value
    ) throws(Interlock.Failure) -> Value {
        do throws(TLSError) {
            return try body()
        } catch {
            throw failure(path.map { "\($0): \(error)" } ?? error.description)
        }
    }

    private static func failure(_ text: String) -> Interlock.Failure { Interlock.Failure("feed-init: \(text)") }
}
