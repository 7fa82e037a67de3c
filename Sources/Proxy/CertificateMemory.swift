// What was made of each certificate's files, and the last form of it that was good. Files that did not change are not
// parsed again; a renewal that went wrong leaves in use what there was before. Owned by the thread that publishes.

internal import TLS

/// The bytes a certificate is made from.
struct CertificateFiles: Equatable {
    var chain: [UInt8]?
    /// nil: in the chain's file.
    var key: [UInt8]?
    var staple: [UInt8]?
    /// Why they cannot even be tried.
    var fault: String?
}

/// One certificate over the time of its renewals.
struct RememberedCertificate {
    private(set) var files = CertificateFiles()
    /// In use: made from `files`, or from the last ones that were good.
    private(set) var certificate: TLSCertificate?
    /// Why `files` cannot be used; nil: they are.
    private(set) var fault: String?
    private(set) var isMissing = true

    var isLastGood: Bool { certificate != nil && fault != nil }

    init() {}

    /// Takes what the files are now.
    mutating func update(_ files: CertificateFiles, parse: (CertificateFiles) throws(TLSError) -> TLSCertificate) {
        if files == self.files, certificate != nil || fault != nil { return }
        self.files = files
        isMissing = files.chain == nil
        if let reason = files.fault {
            fault = reason
            return
        }
        do throws(TLSError) {
            certificate = try parse(files)
            fault = nil
        } catch {
            fault = error.description
        }
    }

    /// Its files are gone.
    mutating func lose(_ reason: String) {
        files = CertificateFiles(fault: reason)
        isMissing = true
        fault = reason
    }
}

/// All certificates in use, by where they come from, and each content only once.
struct CertificateMemory {
    private var byContent: [[UInt8]: TLSCertificate] = [:]
    /// Certificates parsed since it was made.
    private(set) var parsedCount = 0

    /// A certificate of these files: the one that is there already, if its bytes are the same.
    mutating func certificate(_ files: CertificateFiles) throws(TLSError) -> TLSCertificate {
        let chain = files.chain ?? []
        let content = TLSCertificate.hash(chainPEM: chain, keyPEM: files.key, stapleDER: files.staple)
        if let known = byContent[content] { return known }
        let made = try TLSCertificate(chainPEM: chain, keyPEM: files.key, stapleDER: files.staple)
        parsedCount += 1
        byContent[content] = made
        return made
    }

    /// Forgets what is not among these any more.
    mutating func keep(_ used: Set<ObjectIdentifier>) {
        guard byContent.count > used.count else { return }
        byContent = byContent.filter { used.contains(ObjectIdentifier($0.value)) }
    }
}
