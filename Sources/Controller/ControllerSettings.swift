// What the controller is told at its start, and what it tells about itself.

public import Discovery
public import Docker
public import Model

public struct ControllerSettings: Hashable, Sendable {
    /// nil: Docker is off.
    public var docker: DockerSettings?
    /// nil: there is none.
    public var servicesFile: String?
    /// Where `proxyNetworks` is nil, the networks of the own container are used.
    public var mapping: MappingSettings

    public init(
        docker: DockerSettings? = nil, servicesFile: String? = nil, mapping: MappingSettings = MappingSettings()
    ) {
        self.docker = docker
        self.servicesFile = servicesFile
        self.mapping = mapping
    }
}

/// Why the controller cannot start: one clear line.
public struct ControllerError: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String

    public init(description: String) { self.description = description }
}

public struct ControllerStatus: Hashable, Sendable {
    /// nil: Docker is off.
    public var docker: DockerStatus?
    /// Everything that is wrong right now, in the order of the last snapshot.
    public var diagnostics: [Diagnostic] = []
    /// Snapshots handed out.
    public var publishedCount: UInt64 = 0
    /// Looks at the world that asked for nothing new.
    public var unchangedCount: UInt64 = 0
    /// The last mapping from inventory to snapshot, in microseconds.
    public var lastMappingUs: Int = 0
    /// The last published snapshot's place in time.
    public var order = SnapshotOrder()

    public init() {}
}
