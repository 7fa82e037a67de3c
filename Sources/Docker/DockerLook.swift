// One look at an engine, for whoever needs no watcher: everything is listed once, by the same lister, and believed or
// not by the same rules. It waits for nothing and remembers nothing.

import Kernel

public enum DockerLook {
    /// - Parameter note: what the lister has to say, on the calling thread.
    /// - Throws: if anything that is needed could not be listed.
    public static func once(
        _ settings: DockerSettings, note: @escaping @Sendable (DockerNote) -> Void
    ) throws(DockerError) -> DockerObservation {
        let client = DockerClient(
            endpoint: settings.endpoint, callTimeoutMs: settings.callTimeoutMs, bodyLimit: settings.answerLimit)
        defer { client.disconnect() }
        var lister = DockerLister(
            client: client, labelPrefix: settings.labelPrefix, ownCandidates: OwnContainer.candidates(), note: note)
        do throws(ListFailure) {
            try lister.listAll(nowNs: Clock.monotonicNs())
        } catch {
            switch error {
            case .call(let failure): throw failure
            case .stale(let text), .unsettled(let text): throw DockerError(kind: .badAnswer, call: "", message: text)
            }
        }
        return lister.observation()
    }
}
