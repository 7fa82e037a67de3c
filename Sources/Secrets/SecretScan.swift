// One look at all places: which files there are, what is in them, and which directories to watch for the next change.
// It remembers what it read by path and reads a file again only if it may have changed. No thread, no callback.

import Glibc
internal import Kernel
internal import Model

struct SecretScan {
    /// What is at a path, as of the last look.
    private struct Known {
        /// nil: read again in any case.
        var signature: FileSignature?
        var bytes: [UInt8]
        var look: UInt64
    }

    private let places: SecretPlaces
    private var known: [String: Known] = [:]
    private var look: UInt64 = 0
    /// The certificates directory as of the last look.
    private var lastCertificates: [String: [UInt8]] = [:]
    /// Where something could happen that the next look would see. Some may be missing.
    private(set) var directories: Set<String> = []

    /// Entries of the certificates directory. Who has more wants several proxies.
    static let entryLimit = 100_000
    private static let shortestTicketKey = 16

    init(places: SecretPlaces) { self.places = places }

    /// - Parameters:
    ///   - wanted: names of files in the secrets directory.
    ///   - rereads: whether to read every file, however unchanged it looks.
    mutating func files(wanted: Set<String>, rereads: Bool) -> SecretFiles {
        look &+= 1
        directories = []
        if rereads { known = [:] }
        var files = SecretFiles()
        readSecrets(wanted, into: &files)
        if let directory = places.certificatesDirectory { readCertificates(directory, into: &files) }
        readSingles(into: &files)
        let look = look
        known = known.filter { $0.value.look == look }
        return files
    }

    // MARK: Places

    private mutating func readSecrets(_ wanted: Set<String>, into files: inout SecretFiles) {
        guard let directory = places.secretsDirectory else {
            for name in wanted { files.failures[name] = SecretFailure.missing.reason }
            return
        }
        watch(directory)
        for name in wanted.sorted() {
            guard SecretPlaces.isPlainName(name) else {
                files.failures[name] = SecretFailure.badName.reason
                continue
            }
            switch read(directory + "/" + name) {
            case .success(let bytes): files.secrets[name] = bytes
            case .failure(let failure): files.failures[name] = failure.reason
            }
            for staple in SecretFiles.stapleNames(of: name) where files.secrets[staple] == nil {
                // There is none for most.
                if case .success(let bytes) = read(directory + "/" + staple) { files.secrets[staple] = bytes }
            }
        }
    }

    /// Files of the directory, and of the directories in it that hold what certbot writes for a name. A file that is
    /// there and cannot be read stays as it was: a certificate ends when it is taken away, not when a disk is full.
    private mutating func readCertificates(_ directory: String, into files: inout SecretFiles) {
        watch(directory)
        let names: [String]
        switch SecretFileReader.entries(directory, limit: Self.entryLimit) {
        case .success(let found): names = found
        case .failure(let failure):
            // Nobody has taken the certificates out of it.
            files.failures[directory] = failure.reason
            files.certificates = lastCertificates
            return
        }
        defer { lastCertificates = files.certificates }
        for name in names {
            let path = directory + "/" + name
            if SecretFiles.isCertificateFile(name) {
                readCertificate(path, as: name, into: &files)
            } else if SecretFileReader.isDirectory(path) {
                watch(path)
                let chain = path + "/" + SecretFiles.certbotChain
                guard access(chain, F_OK) == 0 || errno != ENOENT || SecretFileReader.isSymbolicLink(chain) else {
                    continue
                }
                for file in SecretFiles.certbotFiles {
                    readCertificate(path + "/" + file, as: name + "/" + file, into: &files)
                }
            }
        }
    }

    private mutating func readCertificate(_ path: String, as name: String, into files: inout SecretFiles) {
        switch read(path) {
        case .success(let bytes): files.certificates[name] = bytes
        // A link that leads nowhere was not taken away: what it led to was.
        case .failure(.missing) where !SecretFileReader.isSymbolicLink(path): break
        case .failure(let failure):
            files.failures[path] = failure.reason
            files.certificates[name] = lastCertificates[name]
        }
    }

    private mutating func readSingles(into files: inout SecretFiles) {
        func read(_ reference: String?, _ scan: inout SecretScan) -> [UInt8]? {
            guard let reference else { return nil }
            guard let path = scan.places.path(of: reference) else {
                files.failures[reference] = SecretFailure.missing.reason
                return nil
            }
            scan.watch(SecretFileReader.directory(of: path))
            switch scan.read(path) {
            case .success(let bytes): return bytes
            case .failure(let failure):
                files.failures[reference] = failure.reason
                return nil
            }
        }
        files.defaultCertificate = read(places.defaultCertificate, &self)
        files.defaultKey = read(places.defaultKey, &self)
        if let path = places.defaultCertificate.flatMap({ places.path(of: $0) }) {
            for staple in SecretFiles.stapleNames(of: path) where files.defaultStaple == nil {
                if case .success(let bytes) = self.read(staple) { files.defaultStaple = bytes }
            }
        }
        files.ticketKey = read(places.ticketKey, &self)
        // A line end at the end belongs to the file, and may differ between nodes.
        while let last = files.ticketKey?.last, last == 10 || last == 13 { files.ticketKey?.removeLast() }
        if let key = files.ticketKey, let reference = places.ticketKey, key.count < Self.shortestTicketKey {
            files.ticketKey = nil
            files.failures[reference] = "is too short for a ticket key: \(Self.shortestTicketKey) bytes at least"
        }
    }

    // MARK: Files

    private mutating func read(_ path: String) -> Result<[UInt8], SecretFailure> {
        if SecretFileReader.isSymbolicLink(path), let target = SecretFileReader.target(of: path) {
            directories.insert(SecretFileReader.directory(of: target))
        }
        if let last = known[path], last.look == look { return .success(last.bytes) }
        if let last = known[path], let signature = last.signature, SecretFileReader.signature(path) == signature {
            known[path]?.look = look
            return .success(last.bytes)
        }
        let startedNs = Clock.realtimeNs()
        switch SecretFileReader.read(path) {
        case .success(let (bytes, signature)):
            let isSettled = signature?.isSettled(nowNs: startedNs) ?? false
            known[path] = Known(signature: isSettled ? signature : nil, bytes: bytes, look: look)
            return .success(bytes)
        case .failure(let failure):
            // Asked again at each look: opening what is missing costs no more than asking whether it is there.
            return .failure(failure)
        }
    }

    /// A directory to watch. One that is missing, or behind a symbolic link, is expected where it would appear.
    private mutating func watch(_ directory: String) {
        guard !directories.contains(directory) else { return }
        directories.insert(directory)
        var path = directory
        while path != "/", path != ".", SecretFileReader.isSymbolicLink(path) || !SecretFileReader.isDirectory(path) {
            path = SecretFileReader.directory(of: path)
            directories.insert(path)
        }
    }
}
