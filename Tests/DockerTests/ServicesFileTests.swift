import Discovery
import Model
import Support
import Testing

@testable import Docker

@Suite struct ServicesFileReaderTests {
    private func read(_ text: String) throws(ServicesFileError) -> ServicesFileContent {
        try ServicesFileReader.read(Array(text.utf8), name: "services.json")
    }

    @Test func readsServices() throws {
        let content = try read(
            """
            { "$schema": "any", "_note": ["free", "text"],
              "services": [
                { "name": "web", "labels": {"com.docker.lb.hosts": "a.test", "com.docker.lb.port": 80,
                    "com.docker.lb.context_root_rewrite": true, "negative": -1},
                  "endpoints": ["127.0.0.1:9001", "localhost:9002", "[2001:db8::1]:80", "[0:0::1]:80"] },
                { "name": "none", "labels": {}, "endpoints": [] } ] }
            """)
        #expect(content.problems.isEmpty)
        #expect(content.services.map(\.name) == ["web", "none"])
        #expect(
            content.services[0].labels == [
                "com.docker.lb.hosts": "a.test", "com.docker.lb.port": "80",
                "com.docker.lb.context_root_rewrite": "true", "negative": "-1",
            ])
        #expect(
            content.services[0].endpoints == ["127.0.0.1:9001", "127.0.0.1:9002", "[2001:db8::1]:80", "[::1]:80"])
    }

    @Test(arguments: [
        ("", "line 1, column 1", "the text ends"), ("{}", "line 1", "\"services\" is missing"),
        ("[]", "line 1", "expected an object"), ("{\"services\":{}}", "line 1", "expected a list"),
        ("{\"servces\":[]}", "line 1", "unknown field \"servces\""),
        ("{\"services\":[]}\n}", "line 2, column 1", "after the end"),
        ("{\"services\":[],\"services\":[]}", "line 1", "twice"),
        ("{\n\"services\": [\n{\"name\": \"a\",}\n]}", "line 3", "comma before '}'"),
        ("{\n// comment\n\"services\":[]}", "line 2, column 1", "name in double quotes"),
        ("{\"services\":[{\"name\":\"a\nb\"}]}", "line 1", "not closed"),
        ("{\"services\":[", "line 1", "the text ends"),
    ])
    func refusesBrokenFilesByLine(text: String, place: String, reason: String) {
        let error = #expect(throws: ServicesFileError.self) { try read(text) }
        #expect(error?.description.hasPrefix("services.json, \(place)") == true, "\(error?.description ?? "")")
        #expect(error?.description.contains(reason) == true, "\(error?.description ?? "")")
    }

    @Test(arguments: [
        (#"{"labels":{},"endpoints":[]}"#, "no \"name\""), (#"{"name":"","endpoints":[]}"#, "no \"name\""),
        (#"{"name":"a","labels":{}}"#, "no \"endpoints\""),
        (#"{"name":"a","endpoints":"1.2.3.4:5"}"#, "expected a list"),
        (#"{"name":"a","endpoint":[]}"#, "unknown field \"endpoint\""),
        (#"{"name":7,"endpoints":[]}"#, "expected a string"),
        (#"{"name":"a","labels":[],"endpoints":[]}"#, "expected an object"),
        (#"{"name":"a","labels":{"x":null},"endpoints":[]}"#, "must be a string"),
        (#"{"name":"a","labels":{"x":["y"]},"endpoints":[]}"#, "must be a string"),
        (#"{"name":"a","labels":{"x":1.5},"endpoints":[]}"#, "write it as a string"),
        (#"{"name":"a","labels":{"x":"1","x":"2"},"endpoints":[]}"#, "twice"),
        (#"{"name":"a","endpoints":["db.local:80"]}"#, "is a host name"),
        (#"{"name":"a","endpoints":["http://1.2.3.4:80"]}"#, "is a URL"),
        (#"{"name":"a","endpoints":["1.2.3.4"]}"#, "has no port"),
        (#"{"name":"a","endpoints":["::1"]}"#, "has no port"),
        (#"{"name":"a","endpoints":["1.2.3.4:0"]}"#, "no address:port"),
        (#"{"name":"a","endpoints":["1.2.3.4:99999"]}"#, "no address:port"),
        (#"{"name":"a","endpoints":["0.0.0.0:80"]}"#, "no address:port"),
        (#"{"name":"a","endpoints":[""]}"#, "no address:port"),
        (#"{"name":"a","endpoints":[80]}"#, "expected a string"),
        (#"{"name":"good","endpoints":[]}"#, "already in this file"), ("7", "expected an object"),
    ])
    func aBadServiceIsLeftOutAndTheOthersStay(service: String, reason: String) throws {
        let content = try read(
            """
            {"services":[
            {"name":"good","endpoints":["10.0.0.1:80"]},
            \(service),
            {"name":"fine","endpoints":[]}]}
            """)
        #expect(content.services.map(\.name) == ["good", "fine"])
        let problem = try #require(content.problems.first)
        #expect(content.problems.count == 1)
        #expect(problem.message.hasPrefix("services.json, line 3, column "))
        #expect(problem.message.contains(reason), "\(problem.message)")
    }

    @Test func oldContentStaysForWhatIsBad() throws {
        var memory = ServicesFileMemory(path: "f")
        #expect(
            memory.take(
                Array(#"{"services":[{"name":"a","endpoints":["1.1.1.1:1"]},{"name":"b","endpoints":[]}]}"#.utf8))
                == nil)
        #expect(memory.take(Array(#"{"services":[{"name":"a","endpoints":["bad"]}]}"#.utf8)) == nil)
        #expect(memory.observation.file.services == [FileService(name: "a", endpoints: ["1.1.1.1:1"])])
        // It is as old whenever it was written.
        #expect(memory.observation.file.createdAtNs == 0)
        #expect(memory.observation.problems.count == 1)
        #expect(memory.take(Array("{".utf8)) != nil)
        #expect(memory.observation.file.services.map(\.name) == ["a"])
        #expect(memory.observation.problems.first?.message.contains("keeping its last good content") == true)
        #expect(memory.take(Array(#"{"services":[]}"#.utf8)) == nil)
        #expect(memory.observation.file.services.isEmpty && memory.observation.problems.isEmpty)
    }
}

@Suite struct ServicesFileWatcherTests {
    private func content(_ host: String) -> String {
        #"{"services":[{"name":"web","labels":{"h":"\#(host)"},"endpoints":["127.0.0.1:1"]}]}"#
    }

    private func host(_ observation: ServicesFileObservation?) -> String? {
        observation?.file.services.first?.labels["h"]
    }

    @Test func aMissingOrBadFileAtTheStartIsAnError() throws {
        let folder = try makeFolder()
        let path = folder + "/services.json"
        let error = #expect(throws: ServicesFileError.self) { try ServicesFileWatcher(path: path) { _ in }.start() }
        #expect(error?.description == "cannot read the services file \(path): No such file or directory")
        try writeFile(path, "{\n\"services\":[}")
        let other = #expect(throws: ServicesFileError.self) { try ServicesFileWatcher(path: path) { _ in }.start() }
        #expect(other?.description.contains("\(path), line 2, column ") == true)
        #expect(throws: ServicesFileError.self) { try ServicesFileWatcher(path: folder) { _ in }.start() }
    }

    @Test func followsWritesRenamesAndRemovals() throws {
        let folder = try makeFolder()
        let path = folder + "/services.json"
        try writeFile(path, content("one"))
        let seen = try Collected<ServicesFileObservation>()
        let watcher = try ServicesFileWatcher(path: path) { seen.append($0) }
        try watcher.start()
        defer { watcher.stop() }
        #expect(seen.all.count == 1)
        try writeFile(path, content("two"))
        #expect(seen.wait { host($0.last) == "two" })
        try writeFile(folder + "/.services.json.new", content("three"))
        try renameFile(folder + "/.services.json.new", to: path)
        #expect(seen.wait { host($0.last) == "three" })
        try writeFile(path, "{ bad")
        #expect(seen.wait { $0.last?.problems.count == 1 && host($0.last) == "three" })
        removeFile(path)
        #expect(
            seen.wait { $0.last?.problems.first?.message.contains("No such file") == true && host($0.last) == "three" })
        try writeFile(path, content("four"))
        #expect(seen.wait { $0.last?.problems.isEmpty == true && host($0.last) == "four" })
    }

    @Test func followsSymbolicLinksThatAreSwapped() throws {
        // As orchestrators mount files: services.json -> data/services.json, data -> version-N.
        let folder = try makeFolder()
        for (name, host) in [("v1", "one"), ("v2", "two")] {
            #expect(runProgram(["mkdir", "\(folder)/\(name)"]) == 0)
            try writeFile("\(folder)/\(name)/services.json", content(host))
        }
        try linkFile(folder + "/data", to: "v1")
        try linkFile(folder + "/services.json", to: "data/services.json")
        let seen = try Collected<ServicesFileObservation>()
        let watcher = try ServicesFileWatcher(path: folder + "/services.json") { seen.append($0) }
        try watcher.start()
        defer { watcher.stop() }
        try linkFile(folder + "/data.new", to: "v2")
        try renameFile(folder + "/data.new", to: folder + "/data")
        #expect(seen.wait { host($0.last) == "two" })
        // A change behind the link is seen too.
        try writeFile(folder + "/v2/services.json", content("three"))
        #expect(seen.wait { host($0.last) == "three" })
    }

    @Test func stopsAtOnce() throws {
        let folder = try makeFolder()
        try writeFile(folder + "/services.json", content("one"))
        let watcher = try ServicesFileWatcher(path: folder + "/services.json") { _ in }
        try watcher.start()
        watcher.stop()
    }
}
