// Which container this process runs in, if any: by it the proxy finds its own task, and so the networks it sits on.
// Reads three files of its own and judges nothing; the ids are candidates until a list confirms one.

import Glibc

enum OwnContainer {
    /// Ids, or the first 12 digits of one, in order of trust.
    static func candidates() -> [String] {
        candidates(
            mountInfo: text(of: "/proc/self/mountinfo"), controlGroups: text(of: "/proc/self/cgroup"),
            hostname: text(of: "/etc/hostname"))
    }

    /// - Parameters:
    ///   - mountInfo: `/proc/self/mountinfo`: the engine mounts files of `.../containers/<id>/` into each container.
    ///   - controlGroups: `/proc/self/cgroup`: `/docker/<id>` or `docker-<id>.scope`, except in an own namespace.
    ///   - hostname: the id's first 12 digits, unless it was chosen.
    static func candidates(mountInfo: String, controlGroups: String, hostname: String) -> [String] {
        var found: [String] = []
        func add(_ id: some StringProtocol) {
            if !found.contains(String(id)) { found.append(String(id)) }
        }
        for line in mountInfo.split(separator: "\n") {
            let fields = line.split(separator: " ")
            // Other containers' mounts are seen on the host, but never at these places.
            guard fields.count > 4, ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"].contains(fields[4]) else {
                continue
            }
            let parts = fields[3].split(separator: "/")
            if let index = parts.lastIndex(of: "containers"), index + 1 < parts.count, isID(parts[index + 1]) {
                add(parts[index + 1])
            }
        }
        for line in controlGroups.split(separator: "\n") {
            for part in line.split(whereSeparator: { $0 == "/" || $0 == ":" }) {
                var name = part
                if name.hasPrefix("docker-") { name = name.dropFirst("docker-".count) }
                if name.hasSuffix(".scope") { name = name.dropLast(".scope".count) }
                if isID(name) { add(name) }
            }
        }
        let name = hostname.prefix { $0 != "\n" }
        if name.utf8.count == 12, isHex(name) { add(name) }
        return found
    }

    private static func isID(_ text: some StringProtocol) -> Bool { text.utf8.count == 64 && isHex(text) }

    private static func isHex(_ text: some StringProtocol) -> Bool {
        text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }

    /// A small file's text; "" if it cannot be read.
    private static func text(of path: String) -> String {
        guard let bytes = try? FileBytes.read(path, limit: 1 << 20) else { return "" }
        return String(decoding: bytes, as: UTF8.self)
    }
}
