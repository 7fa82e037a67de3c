// One Swarm service as the engine holds it, with every field that is not known here, and the changes that may be made
// to it: secrets, networks and labels that are added or taken away. What is not changed is sent back as it came.

public import Discovery
import Model

/// A secret of the Swarm: its name, never its content, which no engine tells.
public struct SwarmSecret: Hashable, Sendable {
    public var id: String
    public var name: String
    public var labels: [String: String]

    public init(id: String, name: String, labels: [String: String] = [:]) {
        self.id = id
        self.name = name
        self.labels = labels
    }
}

/// A secret that a service's tasks have as a file.
public struct AttachedSecret: Hashable, Sendable {
    public var id: String
    public var name: String
    /// Below `/run/secrets/`, or an absolute path to elsewhere.
    public var file: String

    public init(id: String, name: String, file: String) {
        self.id = id
        self.name = name
        self.file = file
    }
}

/// What is to change in a service.
public struct ServiceEdit: Hashable, Sendable {
    /// Each becomes a file of its name.
    public var addedSecrets: [SwarmSecret] = []
    /// By name; only files of that name are taken away.
    public var removedSecrets: Set<String> = []
    /// Ids.
    public var addedNetworks: [String] = []
    /// Targets as the service names them.
    public var removedNetworks: Set<String> = []
    /// nil takes a label away.
    public var labels: [String: String?] = [:]

    public init() {}

    /// Whether the service's tasks are replaced by it.
    public var replacesTasks: Bool {
        !addedSecrets.isEmpty || !removedSecrets.isEmpty || !addedNetworks.isEmpty || !removedNetworks.isEmpty
    }
}

public struct ServiceObject: Hashable, Sendable {
    public let id: String
    public let name: String
    public let version: UInt64
    public let labels: [String: String]
    public let secrets: [AttachedSecret]
    /// Ids or names.
    public let networks: [String]
    /// nil: it was not updated since it was made or since its labels changed. One that is not known counts as paused.
    public let updateState: UpdateState?
    let spec: JSONTree

    init(_ body: [UInt8]) throws(JSONError) {
        let tree = try JSONTree(body)
        guard let id = tree["ID"]?.text, let version = tree["Version"]?["Index"]?.unsigned, let spec = tree["Spec"],
            let name = spec["Name"]?.text
        else { throw JSONError(kind: .mismatch, offset: 0, message: "expected a service") }
        self.id = id
        self.version = version
        self.spec = spec
        self.name = name
        labels = spec["Labels"]?.strings ?? [:]
        let template = spec["TaskTemplate"]
        secrets = (template?["ContainerSpec"]?["Secrets"]?.elements ?? []).map { secret in
            let name = secret["SecretName"]?.text ?? ""
            let file = secret["File"]?["Name"]?.text ?? name
            return AttachedSecret(
                id: secret["SecretID"]?.text ?? "", name: name,
                file: file.hasPrefix("/run/secrets/") ? String(file.dropFirst(13)) : file)
        }
        networks = Self.networkList(spec)?.elements.compactMap { $0["Target"]?.text } ?? []
        let state = tree["UpdateStatus"]?["State"]?.text ?? ""
        updateState = state.isEmpty ? nil : UpdateState(rawValue: state) ?? .paused
    }

    /// Engines keep them with the tasks; older clients wrote them beside, where engines look if there are no others.
    private static func networkList(_ spec: JSONTree) -> JSONTree? {
        guard let own = spec["TaskTemplate"]?["Networks"], !own.elements.isEmpty else { return spec["Networks"] }
        return own
    }

    private var hasOldNetworks: Bool {
        spec["TaskTemplate"]?["Networks"]?.elements.isEmpty != false && spec["Networks"]?.elements.isEmpty == false
    }

    /// The body of an update: the spec with these changes, and all else as it was.
    func spec(changedBy edit: ServiceEdit) throws(JSONError) -> [UInt8] {
        var spec = spec
        if !edit.labels.isEmpty {
            var labels = spec["Labels"] ?? .object([])
            for (name, value) in edit.labels.sorted(by: { $0.key < $1.key }) {
                try labels.set(name, value.map { .string($0) })
            }
            try spec.set("Labels", labels)
        }
        if !edit.addedSecrets.isEmpty || !edit.removedSecrets.isEmpty {
            try spec.change(at: ["TaskTemplate", "ContainerSpec"]) { (members) throws(JSONError) in
                Self.changeList("Secrets", of: &members, by: Self.secrets, edit)
            }
        }
        if !edit.addedNetworks.isEmpty || !edit.removedNetworks.isEmpty {
            try spec.change(at: hasOldNetworks ? [] : ["TaskTemplate"]) { (members) throws(JSONError) in
                Self.changeList("Networks", of: &members, by: Self.networks, edit)
            }
        }
        if edit.replacesTasks { try Self.rollBackOnFailure(&spec) }
        return spec.bytes
    }

    private static func changeList(
        _ name: String, of members: inout [JSONTree.Member], by change: ([JSONTree], ServiceEdit) -> [JSONTree],
        _ edit: ServiceEdit
    ) {
        if let index = members.firstIndex(where: { $0.name == name }) {
            members[index].value = .array(change(members[index].value.elements, edit))
        } else {
            members.append(JSONTree.Member(name, .array(change([], edit))))
        }
    }

    private static func secrets(_ attached: [JSONTree], _ edit: ServiceEdit) -> [JSONTree] {
        let kept = attached.filter { secret in
            guard let name = secret["SecretName"]?.text, edit.removedSecrets.contains(name) else { return true }
            return secret["File"]?["Name"]?.text != name
        }
        return kept
            + edit.addedSecrets.map { secret in
                .fields([
                    "File": .fields([
                        "Name": .string(secret.name), "UID": .string("0"), "GID": .string("0"), "Mode": .number(0o444),
                    ]), "SecretID": .string(secret.id), "SecretName": .string(secret.name),
                ])
            }
    }

    private static func networks(_ attached: [JSONTree], _ edit: ServiceEdit) -> [JSONTree] {
        let kept = attached.filter { network in
            guard let target = network["Target"]?.text else { return true }
            return !edit.removedNetworks.contains(target)
        }
        return kept + edit.addedNetworks.map { .fields(["Target": .string($0)]) }
    }

    /// An update that fails must not leave half of the tasks away. `pause` is what Docker's clients write when nobody
    /// said anything, so it counts as unset; `continue` was meant. Where there is no configuration at all, Swarm's own
    /// defaults are written out, since an empty one means all tasks at once.
    private static func rollBackOnFailure(_ spec: inout JSONTree) throws(JSONError) {
        guard let config = spec["UpdateConfig"] else {
            return try spec.set(
                "UpdateConfig",
                .fields([
                    "Parallelism": .number(1), "FailureAction": .string("rollback"),
                    "Monitor": .number(5_000_000_000), "MaxFailureRatio": .number(0), "Order": .string("stop-first"),
                ]))
        }
        guard ["", "pause"].contains(config["FailureAction"]?.text ?? "") else { return }
        var changed = config
        try changed.set("FailureAction", .string("rollback"))
        try spec.set("UpdateConfig", changed)
    }
}

extension JSONReader {
    /// An element of `GET /secrets`.
    mutating func swarmSecret() throws(JSONError) -> SwarmSecret? {
        var secret = SwarmSecret(id: "", name: "")
        try object { (reader, name) throws(JSONError) in
            switch name {
            case "ID": secret.id = try reader.string()
            case "Spec":
                try reader.objectOrNull { (reader, name) throws(JSONError) in
                    switch name {
                    case "Name": secret.name = try reader.stringOrNull()
                    case "Labels": secret.labels = try reader.stringMap()
                    default: try reader.skip()
                    }
                }
            default: try reader.skip()
            }
        }
        try require(secret.id, "a secret")
        return secret
    }
}
