// What must hold for hosts and entry ports within a snapshot: the second half of `Snapshot.problems()`.

extension Snapshot {
    func checkHosts(_ problems: inout ProblemList) {
        let hosts = configuration.hosts
        let routed = hosts.contains { !$0.passthrough.isEmpty } ? Set(configuration.routes.map(\.host)) : []
        for (index, host) in hosts.enumerated() {
            let place = "host \(host.host)"
            if index > 0, hosts[index - 1].host >= host.host { problems.add("\(place) is out of order or twice") }
            if !host.host.isNormal { problems.add("\(place) is not in its normal form") }
            check(services: host.passthrough, place, &problems)
            check(host.tls, place, &problems)
            if host.passthrough.isEmpty, host.tls == TLSOptions(), host.redirects.isEmpty {
                problems.add("\(place) has nothing special")
            }
            host.balancing.checkUnseen(place, &problems)
            if host.passthrough.isEmpty, host.balancing != Balancing() {
                problems.add("\(place) picks tasks, and none is behind it")
            }
            if !host.passthrough.isEmpty {
                if host.tls != TLSOptions() { problems.add("\(place) is passed through and has options of TLS") }
                if !host.redirects.isEmpty { problems.add("\(place) is passed through and redirected") }
                if routed.contains(host.host) { problems.add("\(place) is passed through and has a route") }
            }
            for (position, redirect) in host.redirects.enumerated() {
                if position > 0, host.redirects[position - 1].scheme.rawValue >= redirect.scheme.rawValue {
                    problems.add("\(place): redirects are out of order or twice")
                }
                if !redirect.isNormal { problems.add("\(place): the destination \(redirect.target) is not normal") }
            }
        }
    }

    func checkStreams(_ problems: inout ProblemList) {
        let streams = configuration.streams
        for (index, stream) in streams.enumerated() {
            let place = "port \(stream.port)"
            if stream.port == 0 { problems.add("\(place) is no port") }
            if index > 0, streams[index - 1].port >= stream.port { problems.add("\(place) is out of order or twice") }
            check(services: stream.services, place, &problems)
            stream.balancing.checkUnseen(place, &problems)
            if stream.services.isEmpty == stream.hosts.isEmpty {
                problems.add("\(place) goes neither to services nor by server name, or both ways")
            }
            for (position, host) in stream.hosts.enumerated() {
                let place = "\(place), host \(host.host)"
                if position > 0, stream.hosts[position - 1].host >= host.host {
                    problems.add("\(place) is out of order or twice")
                }
                if !host.host.isNormal { problems.add("\(place) is not in its normal form") }
                if host.services.isEmpty { problems.add("\(place) has no service") }
                check(services: host.services, place, &problems)
                host.balancing.checkUnseen(place, &problems)
                if let tls = host.tls { check(tls, place, &problems) }
            }
        }
    }

    func check(services: [Int], _ place: String, _ problems: inout ProblemList) {
        for (index, service) in services.enumerated() {
            if !configuration.services.indices.contains(service) {
                problems.add("\(place) names service \(service), which does not exist")
            }
            if index > 0, services[index - 1] >= service { problems.add("\(place): services are not ascending") }
        }
    }

    private func check(_ tls: TLSOptions, _ place: String, _ problems: inout ProblemList) {
        for (index, certificate) in tls.certificates.enumerated() {
            if index > 0, !tls.certificates[index - 1].precedes(certificate) {
                problems.add("\(place): certificates are out of order or twice")
            }
            if !certificate.certificate.isNormal || certificate.key?.isNormal == false {
                problems.add("\(place): a certificate's name is not the name of a file")
            }
        }
        if tls.clientAuthentication?.authorities.isNormal == false {
            problems.add("\(place): the authorities' name is not the name of a file")
        }
    }
}

extension SecretReference {
    /// Names of files, and no paths.
    var isNormal: Bool {
        !names.isEmpty
            && names.allSatisfy { name in
                !name.isEmpty && name.utf8.first != UInt8(ascii: ".")
                    && name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "/") }
            }
    }
}

extension HostRedirect {
    /// Whether the target can go into a header with a request's target behind it.
    var isNormal: Bool {
        (target.hasPrefix("http://") || target.hasPrefix("https://")) && !target.hasSuffix("/")
            && target.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "?") && $0 != UInt8(ascii: "#") }
    }
}
