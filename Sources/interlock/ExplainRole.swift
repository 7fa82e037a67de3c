// `interlock explain URL [FILE]`: what would become of a request, and why; asked of the running instance, or of a
// services file. Exit status 0: a task gets it, or its client is sent elsewhere; 1: nobody does; 2: it cannot be asked.

import Admin
import Model
import Routing

enum ExplainRole {
    static func run(_ settings: Settings, _ arguments: ExplainArguments) throws(Interlock.Failure) -> Int32 {
        let question: ExplainQuestion
        do throws(ExplainQuestion.Invalid) {
            question = try ExplainQuestion(
                url: arguments.url, method: arguments.method, headers: arguments.headers)
        } catch {
            throw Interlock.Failure("explain: \(error)")
        }
        if let file = arguments.file { return try explain(question, settings, file: file) }
        return try ask(question, settings, cluster: arguments.cluster)
    }

    private static func explain(
        _ question: ExplainQuestion, _ settings: Settings, file: String
    ) throws(Interlock.Failure) -> Int32 {
        let snapshot = try CheckRole.snapshot(settings, file: file, role: "explain")
        let explanation = Explanation(
            of: question, by: snapshot, terms: ExplainTerms(settings, isProxy: true))
        var lines = explanation.lines
        if !snapshot.diagnostics.isEmpty {
            lines.append("note     not all is well in the file: interlock check \(file)".harmless)
        }
        Interlock.write(lines.map { $0 + "\n" }.joined(), to: 1)
        return explanation.isServed ? 0 : 1
    }

    private static func ask(
        _ question: ExplainQuestion, _ settings: Settings, cluster: String?
    ) throws(Interlock.Failure) -> Int32 {
        let path = question.path(cluster: cluster)
        guard path.utf8.count <= AdminServer.targetLimit else {
            throw Interlock.Failure("explain: the request is too long for the admin listener: name a services file")
        }
        let answer: AdminClient.Answer
        do throws(Interlock.Failure) { answer = try AdminClient(settings).ask("GET", path) } catch {
            var failure = error
            failure.status = 2
            throw failure
        }
        let lines = answer.body.split(separator: "\n", omittingEmptySubsequences: false).map { String($0).harmless }
        let text = lines.joined(separator: "\n")
        guard answer.status == 200, let isServed = answer.isServed else {
            throw Interlock.Failure("explain: \(text.last == "\n" ? String(text.dropLast()) : text)")
        }
        Interlock.write(text, to: 1)
        return isServed ? 0 : 1
    }
}

extension ExplainTerms {
    /// - Parameter isProxy: the settings are those of the process that listens.
    init(_ settings: Settings, isProxy: Bool) {
        self.init()
        isSSLOnly = settings.sslOnly
        httpsPublicPort = UInt16(clamping: settings.httpsPublicPort)
        holdMs = settings.holdMs
        maximumBodySize = settings.maxBodySize == 0 ? .max : settings.maxBodySize
        requestLineSize = settings.requestLineSize
        headSize = settings.headSize
        fieldCount = settings.fieldCount
        guard isProxy else { return }
        hasHTTP = !settings.httpListen.isEmpty
        hasHTTPS = !settings.httpsListen.isEmpty
    }
}
