// Answers recorded from a real engine (20.10.24), beside this file.

import Support

enum Recording {
    static func bytes(_ name: String) throws -> [UInt8] {
        let here = #filePath
        let folder = here.prefix(upTo: here.lastIndex(of: "/") ?? here.startIndex)
        return try readFile("\(folder)/Recordings/\(name)")
    }

    /// Answers as the recorded Swarm manager.
    static func load(into engine: FakeDocker) throws {
        for (path, name) in [
            ("/info", "info"), ("/services", "services"), ("/tasks", "tasks"), ("/networks", "networks"),
            ("/nodes", "nodes"), ("/configs", "configs"), ("/containers/json", "containers"),
        ] {
            engine.answer(path, .body(200, try bytes(name + ".json")))
        }
    }
}
