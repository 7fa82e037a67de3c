// A service that is read, changed and sent back: only what is to change is another, byte for byte.

import Discovery
import Testing

@testable import Docker

private func service(_ spec: String, rest: String = "") throws -> ServiceObject {
    try ServiceObject(Array(#"{"ID":"s1","Version":{"Index":18446744073709551615},"Spec":\#(spec)\#(rest)}"#.utf8))
}

private func edit(
    add: [String] = [], remove: Set<String> = [], networks: [String] = [], without: Set<String> = [],
    labels: [String: String?] = [:]
) -> ServiceEdit {
    var edit = ServiceEdit()
    edit.addedSecrets = add.map { SwarmSecret(id: "id-\($0)", name: $0) }
    edit.removedSecrets = remove
    edit.addedNetworks = networks
    edit.removedNetworks = without
    edit.labels = labels
    return edit
}

private let updates =
    #""UpdateConfig":{"Parallelism":1,"FailureAction":"rollback","Monitor":5000000000,"MaxFailureRatio":0,"#
    + #""Order":"stop-first"}"#

private func secret(_ name: String) -> String {
    #"{"File":{"Name":"\#(name)","UID":"0","GID":"0","Mode":292},"SecretID":"id-\#(name)","SecretName":"\#(name)"}"#
}

private struct Change: Sendable {
    var spec: String
    var edit: ServiceEdit
    var expected: String
}

/// `$a` and `$b` stand for these secrets as they are attached, `$u` for an update's configuration where none was.
private func filled(_ text: String) -> String {
    var filled = ""
    var rest = Substring(text)
    while let index = rest.firstIndex(of: "$") {
        filled += rest[..<index]
        rest = rest[index...].dropFirst()
        let letter = rest.removeFirst()
        filled += letter == "u" ? updates : secret(String(letter))
    }
    return filled + rest
}

private let changes: [Change] = [
    // Nothing was there.
    Change(
        spec: #"{"Name":"x","TaskTemplate":{"ContainerSpec":{"Image":"i"}}}"#, edit: edit(add: ["a", "b"]),
        expected: filled(#"{"Name":"x","TaskTemplate":{"ContainerSpec":{"Image":"i","Secrets":[$a,$b]}},$u}"#)),
    // What nobody here knows stays as it was spelled, and where it was.
    Change(
        spec: #"""
            {"Future":[1.50,{"\u0061":-0}],"Name":"x","TaskTemplate":{"ContainerSpec":{"Secrets":[{"SecretName":"o",\#
            "New":1e2,"File":{"Name":"f","Mode":256},"SecretID":"1"}],"Z":"\u003c"},"ForceUpdate":7},\#
            "UpdateConfig":{"FailureAction":"continue","Delay":18446744073709551616}}
            """#,
        edit: edit(add: ["a"]),
        expected: filled(
            #"""
            {"Future":[1.50,{"\u0061":-0}],"Name":"x","TaskTemplate":{"ContainerSpec":{"Secrets":[{"SecretName":"o",\#
            "New":1e2,"File":{"Name":"f","Mode":256},"SecretID":"1"},$a],"Z":"\u003c"},"ForceUpdate":7},\#
            "UpdateConfig":{"FailureAction":"continue","Delay":18446744073709551616}}
            """#)),
    // Only a file of the secret's own name is taken away.
    Change(
        spec: filled(
            #"""
            {"Name":"x","TaskTemplate":{"ContainerSpec":{"Secrets":[$a,{"File":{"Name":"t"},"SecretID":"2",\#
            "SecretName":"a"},$b]}},"UpdateConfig":{"FailureAction":"pause"}}
            """#),
        edit: edit(remove: ["a", "t"]),
        expected: filled(
            #"""
            {"Name":"x","TaskTemplate":{"ContainerSpec":{"Secrets":[{"File":{"Name":"t"},"SecretID":"2",\#
            "SecretName":"a"},$b]}},"UpdateConfig":{"FailureAction":"rollback"}}
            """#)),
    // Networks keep their aliases and options.
    Change(
        spec: #"""
            {"Name":"x","TaskTemplate":{"Networks":[{"Target":"n1","Aliases":["p"],"DriverOpts":{"k":"v"}},\#
            {"Target":"n2"}]},"UpdateConfig":{"FailureAction":"rollback"}}
            """#,
        edit: edit(networks: ["n3"], without: ["n2"]),
        expected: #"""
            {"Name":"x","TaskTemplate":{"Networks":[{"Target":"n1","Aliases":["p"],"DriverOpts":{"k":"v"}},\#
            {"Target":"n3"}]},"UpdateConfig":{"FailureAction":"rollback"}}
            """#),
    // Where old clients wrote them.
    Change(
        spec: #"{"Name":"x","TaskTemplate":{"Networks":null},"Networks":[{"Target":"n1"}],"UpdateConfig":null}"#,
        edit: edit(networks: ["n2"]),
        expected: filled(
            #"{"Name":"x","TaskTemplate":{"Networks":null},"Networks":[{"Target":"n1"},{"Target":"n2"}],$u}"#)),
    Change(
        spec: #"{"Name":"x","TaskTemplate":null}"#, edit: edit(networks: ["n"]),
        expected: filled(#"{"Name":"x","TaskTemplate":{"Networks":[{"Target":"n"}]},$u}"#)),
    // Labels alone replace no task, so nothing is said about failures.
    Change(
        spec: #"{"Name":"x","Labels":{"b":"1","a":"2"},"Mode":{"Global":{}}}"#,
        edit: edit(labels: ["c": "3", "b": nil, "a": "4"]),
        expected: #"{"Name":"x","Labels":{"a":"4","c":"3"},"Mode":{"Global":{}}}"#),
    Change(
        spec: #"{"Name":"x","Labels":null}"#, edit: edit(labels: ["a": "\"\n"]),
        expected: #"{"Name":"x","Labels":{"a":"\"\n"}}"#),
    Change(spec: #"{"Name":"x"}"#, edit: edit(labels: ["a": "1"]), expected: #"{"Name":"x","Labels":{"a":"1"}}"#),
]

@Suite struct ServiceObjectTests {
    @Test(arguments: changes)
    fileprivate func changesOnlyWhatIsToChange(_ change: Change) throws {
        let bytes = try service(change.spec).spec(changedBy: change.edit)
        #expect(String(decoding: bytes, as: UTF8.self) == change.expected)
    }

    @Test func readsWhatMatters() throws {
        let read = try service(
            #"{"Name":"lb","Labels":{"a":"1"},"TaskTemplate":{"ContainerSpec":{"Secrets":[{"File":{"Name":"#
                + #""/run/secrets/c"},"SecretID":"1","SecretName":"x"},{"SecretID":"2","SecretName":"y"}]},"#
                + #""Networks":[{"Target":"n1"}]}}"#,
            rest: #","UpdateStatus":{"State":"rollback_completed","Message":"m"}"#)
        #expect(read.id == "s1")
        #expect(read.name == "lb")
        #expect(read.version == .max)
        #expect(read.labels == ["a": "1"])
        #expect(
            read.secrets == [
                AttachedSecret(id: "1", name: "x", file: "c"), AttachedSecret(id: "2", name: "y", file: "y"),
            ])
        #expect(read.networks == ["n1"])
        #expect(read.updateState == .rollbackCompleted)
        #expect(try service(#"{"Name":"lb"}"#).updateState == nil)
        #expect(
            try service(#"{"Name":"lb"}"#, rest: #","UpdateStatus":{"State":"some_day"}"#).updateState == .paused)
    }

    @Test(arguments: [
        "{}", "[]", "null", #"{"ID":"a","Version":{"Index":-1},"Spec":{"Name":"x"}}"#,
        #"{"ID":"a","Version":{"Index":1},"Spec":null}"#, #"{"ID":"a","Version":{"Index":1},"Spec":{}}"#,
        #"{"ID":1,"Version":{"Index":1},"Spec":{"Name":"x"}}"#,
    ])
    func refusesWhatIsNoService(_ json: String) {
        #expect(throws: JSONError.self) { try ServiceObject(Array(json.utf8)) }
    }

    @Test func aListOfAnotherKindIsNotPatched() throws {
        let odd = try service(#"{"Name":"x","TaskTemplate":{"ContainerSpec":"no"}}"#)
        #expect(throws: JSONError.self) { try odd.spec(changedBy: edit(add: ["a"])) }
    }

    @Test func onlyWhoMayUpdatesServices() throws {
        let id = try #require(DockerID("abc"))
        let call = DockerCall.updateService(id, version: 12)
        #expect(!call.isAllowed(by: []))
        #expect(!call.isAllowed(by: .pins))
        #expect(call.isAllowed(by: .services))
        #expect(call.target(DockerVersion(1, 41), writes: .services) == "/v1.41/services/abc/update?version=12")
        #expect(DockerCall.service(id).isAllowed(by: []))
        #expect(DockerCall.service(id).target(nil) == "/services/abc")
        #expect(DockerCall.secrets.target(nil) == "/secrets")
    }
}
