// What is to change in one managed service, if anything: a pure function of the service as the engine holds it, of what
// labels need, and of what the Swarm has. It adds what is needed and takes away what it added itself, nothing else.
//
// An attempt must never be repeated for ever, and the process that made it may be restarted by it. So what was tried is
// written on the service itself, and an attempt has two steps:
//
//   announce   labels alone, which restarts no task: `managed` becomes the hash of what is to be changed
//   carry out  the change. If it is rolled back, by Swarm or by hand, the service is what the announcement made of it
//
//   mark is another hash                             announce; a mark that was rolled back joins `managed_failed`
//   mark is this hash, service was not rolled back   carry out
//   mark is this hash, service was rolled back       given up, as long as the needs are these
//   this hash is in `managed_failed`                 given up
//   something else is under way in the service       wait

import Discovery
import Docker
import Model

/// What one service has to have.
struct ServiceWants: Equatable {
    /// nil: its secrets are not managed.
    var secrets: [SecretNeed]?
    /// Names that something refers to, whether or not it is needed now: these are not taken away.
    var referencedSecrets: Set<String> = []
    /// nil: its networks are not managed.
    var networks: [NetworkNeed]?
    var networksInUse: Set<String> = []
}

/// What the Swarm has, and what the operator decided.
struct ReconcileContext {
    var labelPrefix = "com.docker.lb."
    var secrets: [SwarmSecret] = []
    var networks: [Network] = []
    /// File names that belong to the operator: feed credentials, tokens.
    var reservedSecrets: Set<String> = []
    /// Names of secrets and ids of networks that nothing has referred to for long enough.
    var stale: Set<String> = []
}

struct ReconcilePlan {
    enum Action: Equatable {
        case none
        /// Somebody updates the service.
        case wait
        case announce(ServiceEdit)
        case carryOut(ServiceEdit)
        case givenUp(why: String)
    }

    var action = Action.none
    /// Of what is to be changed; "" if nothing is.
    var hash = ""
    var edit = ServiceEdit()
    var problems: [Diagnostic] = []

    private let service: ServiceObject
    private let context: ReconcileContext

    /// How many failed attempts are remembered.
    static let failureLimit = 8

    init(for service: ServiceObject, wants: ServiceWants, context: ReconcileContext) {
        self.service = service
        self.context = context
        if let secrets = wants.secrets { planSecrets(secrets, referenced: wants.referencedSecrets) }
        if let networks = wants.networks { planNetworks(networks, inUse: wants.networksInUse) }
        guard edit.replacesTasks else { return }
        hash = Self.hash(of: edit, serviceID: service.id)
        action = decide()
    }

    // MARK: What is needed

    private mutating func planSecrets(_ needs: [SecretNeed], referenced: Set<String>) {
        let files = Set(service.secrets.map(\.file))
        let byName = Dictionary(context.secrets.map { ($0.name, $0) }) { first, _ in first }
        let operators = operatorsSecretIDs()
        var added: [String: SwarmSecret] = [:]
        for need in needs where !need.reference.names.contains(where: files.contains) {
            let found = need.reference.names.compactMap { byName[$0] }
            if let usable = found.first(where: { !operators.contains($0.id) }) {
                added[usable.name] = usable
            } else {
                problems.append(Self.missing(need, isReserved: !found.isEmpty))
            }
        }
        edit.addedSecrets = added.values.sorted { $0.name < $1.name }
        let removable = mark(Labels.addedSecretsMark).subtracting(referenced).intersection(context.stale)
        edit.removedSecrets = removable.filter { name in
            service.secrets.contains { $0.name == name && $0.file == name }
        }
    }

    /// A label may name any secret of the Swarm, but none of these gets a file of its name.
    private func operatorsSecretIDs() -> Set<String> {
        let reserved = context.reservedSecrets
        let labelled = context.secrets.filter { secret in
            let value = secret.labels[context.labelPrefix + Labels.reservedMark]
            return value.map { $0 != "false" } ?? false || reserved.contains(secret.name)
        }
        // The operator may have given them files of other names.
        let attached = service.secrets.filter { reserved.contains($0.file) || reserved.contains($0.name) }
        return Set(labelled.map(\.id) + attached.map(\.id))
    }

    private static func missing(_ need: SecretNeed, isReserved: Bool) -> Diagnostic {
        let name = need.reference.names.first ?? ""
        let message =
            if isReserved {
                "names a secret that is the operator's own; it is not attached"
            } else if Advice.isName(name) {
                "names a secret that this Swarm does not have; make it: " + Advice.create(secret: name)
            } else {
                "names a secret, and none can be called so"
            }
        return Diagnostic(severity: .warning, service: need.service, label: "", value: name, message: message)
    }

    private mutating func planNetworks(_ needs: [NetworkNeed], inUse: Set<String>) {
        let byName = Dictionary(context.networks.map { ($0.name, $0.id) }) { first, _ in first }
        let byID = Dictionary(context.networks.map { ($0.id, $0) }) { first, _ in first }
        let attached = Set(service.networks.map { byID[$0] == nil ? byName[$0] ?? $0 : $0 })
        guard !attached.contains(where: { (byID[$0]?.name ?? $0) == "host" }) else {
            if let need = needs.first {
                let message =
                    "is on networks that cannot be attached to \(service.name), which uses its host's network: "
                    + "publish the port in host mode"
                problems.append(Diagnostic(severity: .warning, service: need.service, message: message))
            }
            return
        }
        let missing = Set(needs.map(\.id)).subtracting(attached).filter { id in
            byID[id].map { !$0.isIngress && $0.scope != .local } ?? false
        }
        edit.addedNetworks = missing.sorted()
        let removable = mark(Labels.addedNetworksMark).subtracting(inUse).intersection(context.stale)
        edit.removedNetworks = removable.intersection(service.networks)
    }

    // MARK: Whether it may be done

    private func mark(_ name: String) -> Set<String> {
        Set((service.labels[context.labelPrefix + name] ?? "").split(separator: ",").map(String.init))
    }

    private func decide() -> Action {
        if mark(Labels.managedFailedMark).contains(hash) { return .givenUp(why: "was rolled back before") }
        let announced = service.labels[context.labelPrefix + Labels.managedMark]
        switch service.updateState {
        case .updating, .rollbackStarted: return .wait
        case .paused: return announced == hash ? .givenUp(why: "was paused half way") : .wait
        case .rollbackPaused, .rollbackCompleted:
            if announced == hash { return .givenUp(why: "was rolled back") }
            return announce(failed: announced)
        case .completed, nil:
            guard announced == hash else { return announce(failed: nil) }
            return carryOut()
        }
    }

    private func announce(failed: String?) -> Action {
        var edit = ServiceEdit()
        edit.labels[context.labelPrefix + Labels.managedMark] = hash
        if let failed {
            let written = service.labels[context.labelPrefix + Labels.managedFailedMark] ?? ""
            let all = written.split(separator: ",").map(String.init).filter { $0 != failed } + [failed]
            edit.labels[context.labelPrefix + Labels.managedFailedMark] =
                all.suffix(Self.failureLimit).joined(separator: ",")
        }
        return .announce(edit)
    }

    private func carryOut() -> Action {
        let secrets = mark(Labels.addedSecretsMark)
        let networks = mark(Labels.addedNetworksMark)
        // They were attached by this very attempt, and are gone.
        let isTakenAway =
            edit.addedSecrets.contains { secrets.contains($0.name) }
            || edit.addedNetworks.contains { networks.contains($0) }
        if isTakenAway { return .givenUp(why: "was undone by hand") }
        var edit = edit
        func set(_ mark: String, _ names: Set<String>) {
            let key = context.labelPrefix + mark
            if names.isEmpty, service.labels[key] == nil { return }
            edit.labels.updateValue(names.isEmpty ? nil : names.sorted().joined(separator: ","), forKey: key)
        }
        let attachedSecrets = Set(service.secrets.map(\.name))
        set(
            Labels.addedSecretsMark,
            secrets.intersection(attachedSecrets).subtracting(edit.removedSecrets)
                .union(edit.addedSecrets.map(\.name)))
        set(
            Labels.addedNetworksMark,
            networks.intersection(service.networks).subtracting(edit.removedNetworks).union(edit.addedNetworks))
        return .carryOut(edit)
    }

    // MARK: The name of an attempt

    /// Equal on all controllers: FNV-1a over what is to be changed, in order.
    static func hash(of edit: ServiceEdit, serviceID: String) -> String {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        let parts =
            [serviceID] + edit.addedSecrets.map { "+\($0.name)=\($0.id)" }.sorted()
            + edit.removedSecrets.sorted().map { "-\($0)" } + edit.addedNetworks.sorted().map { "+net \($0)" }
            + edit.removedNetworks.sorted().map { "-net \($0)" }
        for byte in parts.joined(separator: "\n").utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }
}
