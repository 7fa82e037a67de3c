// What is wrong with the places that the settings name: told once when it begins and once when it is over, and shown as
// long as it lasts. What is wrong with a service's secrets is the proxy's word.

import Admin
import Secrets
import Synchronization
import Telemetry

final class SecretFailureMemory: Sendable {
    private let names: Set<String>
    private let ticketKey: String?
    private let log: Log
    private let told = Mutex(Told())

    private struct Told {
        var failures: [String: String] = [:]
        var unusable: [String: String] = [:]
        var all: [String: String] { failures.merging(unusable) { failure, _ in failure } }
    }

    init(places: SecretPlaces, log: Log) {
        names = Set(
            [places.certificatesDirectory, places.defaultCertificate, places.defaultKey, places.ticketKey]
                .compactMap { $0 })
        ticketKey = places.ticketKey
        self.log = log
    }

    var problems: [CertificateProblem] {
        let now = told.withLock { $0 }
        return now.all.sorted { $0.key < $1.key }.map { name, reason in
            let code = name == ticketKey ? "ticket_key" : now.failures[name] == nil ? "unusable" : "missing"
            return CertificateProblem(certificate: name, code: code, message: "\(name): \(reason)")
        }
    }

    /// - Parameters:
    ///   - failures: what could not be read, by name, with the reason.
    ///   - unusable: certificates of the directory that could be read and are none, by path.
    func take(_ failures: [String: String], unusable: [String: String] = [:]) {
        // Files of the certificates directory are told by their paths.
        let failures = failures.filter { names.contains($0.key) || $0.key.hasPrefix("/") }
        let (before, now) = told.withLock { told in
            let before = told.all
            told = Told(failures: failures, unusable: unusable)
            return (before, told.all)
        }
        for (name, reason) in now.sorted(by: { $0.key < $1.key }) where before[name] != reason {
            log.warning("secret not to be had", ["name": .string(name), "problem": .string(reason)])
        }
        for name in before.keys.sorted() where now[name] == nil {
            log.info("secret no longer a problem", ["name": .string(name)])
        }
    }
}
