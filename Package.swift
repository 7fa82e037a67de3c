// swift-tools-version: 6.2
import PackageDescription

// The walls of the house: a target may import what its `dependencies` list and nothing else
// (docs/ARCHITECTURE.md draws them; Tests/TreeTests holds them).

/// Every target: Swift 6 mode, imports stay private unless said otherwise.
let common: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("ExistentialAny"),
    // The request path crosses Wire, Routing, Kernel and Proxy: without this every small accessor is a call.
    .unsafeFlags(["-cross-module-optimization"], .when(configuration: .release)),
]

/// Targets that have no business with pointers: the compiler flags every unsafe construct in them.
let pointerFree: [SwiftSetting] = common + [.strictMemorySafety()]

let package = Package(
    name: "interlock",
    products: [
        .executable(name: "interlock", targets: ["interlock"])
    ],
    targets: [
        // C: headers and wrappers for what the importer cannot see.
        .target(name: "CLinux", cSettings: [.define("_GNU_SOURCE")]),
        .target(name: "COpenSSL", linkerSettings: [.linkedLibrary("ssl"), .linkedLibrary("crypto")]),

        // Pure: no kernel, no clock, no lock, no Foundation.
        .target(name: "Wire", swiftSettings: common),
        .target(name: "Model", swiftSettings: pointerFree),
        .target(name: "Routing", dependencies: ["Model"], swiftSettings: common),
        .target(name: "Discovery", dependencies: ["Model"], swiftSettings: pointerFree),

        // The machine.
        .target(name: "Kernel", dependencies: ["CLinux"], swiftSettings: common),
        .target(name: "TLS", dependencies: ["COpenSSL"], swiftSettings: common),
        .target(name: "Secrets", dependencies: ["Model", "Kernel"], swiftSettings: common),
        .target(name: "Telemetry", swiftSettings: common),

        // The data plane.
        .target(
            name: "Proxy", dependencies: ["Routing", "Model", "Wire", "TLS", "Telemetry", "Kernel"],
            swiftSettings: common),

        // The control plane.
        .target(
            name: "Docker", dependencies: ["Discovery", "Model", "Wire", "TLS", "Kernel"], swiftSettings: common),
        .target(
            name: "Controller", dependencies: ["Docker", "Discovery", "Model", "Telemetry", "Kernel"],
            swiftSettings: common),
        .target(
            name: "Admin", dependencies: ["Routing", "Telemetry", "Wire", "Kernel", "Model"], swiftSettings: common),

        // Between controllers and those who use their snapshots: proxies and extensions.
        .target(name: "Feed", dependencies: ["Model", "TLS", "Kernel"], swiftSettings: common),
        .target(name: "Render", dependencies: ["Model"], swiftSettings: pointerFree),
        .target(
            name: "Extension", dependencies: ["Render", "Model", "Kernel", "Telemetry"], swiftSettings: common),

        // A backend to try things against; part of the binary, no part of the proxy.
        .target(name: "Demo", dependencies: ["Wire", "Model", "Telemetry", "Kernel"], swiftSettings: common),

        .executableTarget(
            name: "interlock",
            dependencies: [
                "Admin", "Controller", "Demo", "Discovery", "Docker", "Extension", "Feed", "Kernel", "Model", "Proxy",
                "Render", "Routing", "Secrets", "TLS", "Telemetry", "Wire",
            ],
            swiftSettings: common),

        // Tests mirror Sources.
        .target(name: "Support", dependencies: ["Kernel"], path: "Tests/Support", swiftSettings: common),
        .testTarget(name: "KernelTests", dependencies: ["Kernel", "Support"], swiftSettings: common),
        .testTarget(name: "WireTests", dependencies: ["Wire", "Support"], swiftSettings: common),
        .testTarget(
            name: "ModelTests", dependencies: ["Model", "Support"], exclude: ["Golden"], swiftSettings: common),
        .testTarget(name: "RoutingTests", dependencies: ["Routing", "Model", "Support"], swiftSettings: common),
        .testTarget(name: "TLSTests", dependencies: ["TLS", "COpenSSL", "Kernel", "Support"], swiftSettings: common),
        .testTarget(
            name: "SecretsTests", dependencies: ["Secrets", "Model", "Kernel", "Support"], swiftSettings: common),
        .testTarget(name: "TelemetryTests", dependencies: ["Telemetry", "Kernel"], swiftSettings: common),
        .testTarget(
            name: "ProxyTests",
            dependencies: ["Proxy", "Routing", "Model", "Wire", "TLS", "Telemetry", "Kernel", "Support"],
            swiftSettings: common),
        .testTarget(name: "DiscoveryTests", dependencies: ["Discovery", "Model", "Support"], swiftSettings: common),
        .testTarget(
            name: "DockerTests", dependencies: ["Docker", "Discovery", "Model", "Kernel", "Support"],
            exclude: ["Recordings"], swiftSettings: common),
        .testTarget(
            name: "ControllerTests",
            dependencies: [
                "Controller", "Docker", "Discovery", "Routing", "Model", "Telemetry", "Kernel", "Support",
            ],
            swiftSettings: common),
        .testTarget(
            name: "AdminTests", dependencies: ["Admin", "Routing", "Model", "Telemetry", "Kernel", "Support"],
            swiftSettings: common),
        .testTarget(
            name: "FeedTests", dependencies: ["Feed", "Model", "TLS", "Kernel", "Support"], swiftSettings: common),
        .testTarget(
            name: "RenderTests", dependencies: ["Render", "Model", "Support"], exclude: ["Golden"],
            swiftSettings: common),
        .testTarget(
            name: "ExtensionTests", dependencies: ["Extension", "Render", "Model", "Kernel", "Telemetry", "Support"],
            swiftSettings: common),
        .testTarget(name: "DemoTests", dependencies: ["Demo", "Wire", "Kernel", "Support"], swiftSettings: common),
        .testTarget(
            name: "InterlockTests",
            dependencies: [
                "interlock", "Admin", "Discovery", "Feed", "Kernel", "Model", "Proxy", "Routing", "Secrets",
                "Support", "Telemetry",
            ],
            swiftSettings: common),
        .testTarget(name: "TreeTests", swiftSettings: common),
    ]
)
