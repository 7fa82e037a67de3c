"""The example for `interlock extension exec`: what it makes of a snapshot has AS3's form and protects what labels do.

AS3's own schema is not part of the project. The form is checked against a subset of it that was written by hand: the
classes, properties, words and ranges that the script may use, and that whatever is referred to is there. The facts of
the subset were checked against the published schema of AS3 3.30.0; where the subset is narrower, the script needs no
more.
"""

import copy
import http.server
import ipaddress
import json
import pathlib
import re
import subprocess
import sys
import threading

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "docker" / "extensions" / "f5-as3.py"
NO_CONDITIONS = {"headers": [], "methods": []}
IN_TURN = {"method": "round_robin", "key": None}


def service(name, *addresses, **options):
    endpoints = [{"id": f"{name}-{each}", "address": each, "port": 8080, "state": "ready"} for each in addresses]
    return {"id": name, "name": name, "stack": "", "cluster": "", "source": "file", "backend_mode": "task",
            "desired_tasks": None, "options": options, "endpoints": endpoints}


def route(host, path, *services, **more):
    return {"host": host, "path": path, "conditions": NO_CONDITIONS, "balancing": IN_TURN, "rewrites_prefix": False,
            "path_policy": "safe", "requires_tls": False, "hsts": None, "services": list(services), **more}


def host(name, certificates=(), **more):
    pairs = [{"certificate": [each], "key": None} for each in certificates]
    tls = {"certificates": pairs, "min_version": None, "client_auth": None}
    return {"host": name, "passthrough": [], "balancing": IN_TURN, "tls": {**tls, **more.pop("tls", {})},
            "redirects": [], **more}


def snapshot(**parts):
    return {"interlock_snapshot": 1, "order": {"cluster": "", "version": 7, "listed_at_ns": 1}, "services": [],
            "routes": [], "hosts": [], "streams": [], "diagnostics": [],
            "secrets": {"names": ["shop.pem"], "certificates": [], "has_default_certificate": False, "failures": []},
            **parts}


SAMPLE = snapshot(
    services=[
        service("web", "10.0.0.1", "10.0.0.2", health={
            "mode": "http", "path": "/up", "port": None, "interval_ms": 3000, "timeout_ms": 1000, "rise": 2, "fall": 3,
            "statuses": [[200, 299], [304, 304]]}),
        service("blue", "10.0.1.1", weight=60), service("green", *[f"10.0.2.{n}" for n in range(1, 5)], weight=40),
        service("none"), service("db", "10.0.3.1"), service("staff", "10.0.4.1"),
    ],
    routes=[
        route("shop.test", "/", "web"), route("shop.test", "/app", "blue", "green", rewrites_prefix=True),
        route("shop.test", "/app", "none", conditions={"headers": [{"name": "x-preview", "value": "green"}],
                                                        "methods": ["GET"]}),
        route("only.test", "/x", "web", requires_tls=True), route("*.shop.test", "/", "web"),
        route("*.deep.shop.test", "/", "blue"), route("*", "/", "web"), route("staff.test", "/", "staff"),
        route("old.test", "/", "web"),
    ],
    hosts=[
        host("shop.test", ["shop.pem"]), host("only.test", ["gone.pem"]),
        host("staff.test", ["shop.pem"], tls={"client_auth": {"demand": "required", "authorities": ["ca"]}}),
        host("old.test", redirects=[{"scheme": "http", "target": "https://shop.test"}]),
    ],
    streams=[{"port": 5432, "services": ["db"], "balancing": IN_TURN, "hosts": []}])


def run(document, **environment):
    done = subprocess.run(
        [sys.executable, SCRIPT], input=json.dumps(document), capture_output=True, text=True, timeout=60, check=False,
        env={"F5_ADDRESS": "192.0.2.10", **environment})
    return done


def items_of(document):
    done = run(document)
    assert done.returncode == 0, done.stderr
    declaration = json.loads(done.stdout)
    check_form(declaration)
    return declaration["declaration"]["interlock"]["routes"], done.stderr


#: Class -> properties that may be there; those with a mark must.
CLASSES = {
    "Service_HTTP": "virtualAddresses! virtualPort policyEndpoint persistenceMethods",
    "Service_HTTPS": "virtualAddresses! virtualPort policyEndpoint persistenceMethods serverTLS! redirect80",
    "Service_TCP": "virtualAddresses! virtualPort! persistenceMethods pool",
    "Pool": "members! monitors loadBalancingMode",
    "Monitor": "monitorType! interval timeout send receive targetPort",
    "Endpoint_Policy": "strategy rules!",
    "TLS_Server": "certificates! requireSNI tls1_0Enabled tls1_1Enabled",
    "Certificate": "certificate! privateKey",
}
MODES = {"round-robin", "ratio-member", "least-connections-member", "ratio-least-connections-member"}
#: Type -> what it has beside `type` and `event`; all of them take the event `request`.
CONDITIONS = {"httpHeader": {"name", "all"}, "httpUri": {"path"}, "httpMethod": {"all"}}
ACTIONS = {"forward": {"select"}, "httpRedirect": {"location"}, "httpUri": {"replace"}, "drop": set()}
OPERANDS = {"equals", "ends-with", "starts-with"}
#: The name of a tenant, an item or a rule. Each kind may have some more characters, and rules be longer.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,189}")
#: No space, quote, bracket, brace, dollar, backslash or backquote. The schema takes more, but a backquote in `send` and
#: `receive` asks AS3 to put something in its place, and nothing promises that AS3 quotes the others for BIG-IP.
PLAIN = re.compile(r"[A-Za-z0-9._~%:@=+,&/-]+")


def check_form(declaration):
    """A hand-written subset of AS3's schema."""
    assert set(declaration) == {"class", "action", "persist", "declaration"} and declaration["class"] == "AS3"
    assert declaration["action"] == "deploy" and declaration["persist"] is True
    adc = declaration["declaration"]
    assert adc["class"] == "ADC" and adc["schemaVersion"] == "3.30.0"
    # Either may have more characters than these, and the id more of them.
    assert re.fullmatch(r"[a-z]{0,64}", adc["id"]) and re.fullmatch(r"[a-z0-9 ]{0,64}", adc["label"])
    (tenant_name,) = set(adc) - {"class", "schemaVersion", "id", "label"}
    # Common is a tenant with rules of its own.
    assert NAME.fullmatch(tenant_name) and tenant_name != "Common"
    tenant = adc[tenant_name]
    assert set(tenant) == {"class", "routes"} and tenant["class"] == "Tenant"
    application = tenant["routes"]
    assert application["class"] == "Application" and application["template"] == "generic"
    items = {key: value for key, value in application.items() if key not in ("class", "template")}
    for name, item in items.items():
        assert NAME.fullmatch(name), name
        words = CLASSES[item["class"]].split()
        assert set(item) - {"class"} <= {word.rstrip("!") for word in words}, item
        assert {word.rstrip("!") for word in words if word.endswith("!")} <= set(item), item
    for item in items.values():
        check_item(item, items)


def is_number(value, least, most):
    return type(value) is int and least <= value <= most


def are_addresses(values):
    """At least one, none twice."""
    return 0 < len({ipaddress.ip_address(each) for each in values}) == len(values)


def check_item(item, items):
    def refers(name, kind):
        assert items[name]["class"] == kind, name

    match item["class"]:
        case "Pool":
            assert item["loadBalancingMode"] in MODES
            for member in item["members"]:
                assert set(member) == {"servicePort", "serverAddresses", "shareNodes", "ratio"}
                # The schema takes 0 for both, which the script has no use for.
                assert is_number(member["servicePort"], 1, 65535) and is_number(member["ratio"], 1, 100)
                assert member["shareNodes"] is True and are_addresses(member["serverAddresses"])
            for monitor in item["monitors"]:
                if monitor != "tcp":
                    assert set(monitor) == {"use"}
                    refers(monitor["use"], "Monitor")
        case "Monitor":
            assert item["monitorType"] in ("http", "tcp") and is_number(item.get("targetPort", 1), 1, 65535)
            # The schema takes 0 for both, and a time-out that is over before the next probe. Neither makes sense.
            assert is_number(item["interval"], 1, 3600) and is_number(item["timeout"], 1, 900)
            assert item["interval"] < item["timeout"]
            if item["monitorType"] == "tcp":
                assert "send" not in item and "receive" not in item
                return
            path = re.fullmatch(
                r"GET (\S+) HTTP/1\.1\\r\\nHost: health\\r\\nConnection: close\\r\\n\\r\\n", item["send"]).group(1)
            assert PLAIN.fullmatch(path.replace("?", ""))
            assert re.fullmatch(r"HTTP/1\.\(0\|1\) \([2-5](\|[2-5])*\)", item["receive"])
        case "Service_HTTP" | "Service_HTTPS" | "Service_TCP":
            assert are_addresses(item["virtualAddresses"]) and is_number(item["virtualPort"], 0, 65535)
            assert item["persistenceMethods"] == []
            assert item.get("redirect80", False) is False
            for key, kind in (("pool", "Pool"), ("policyEndpoint", "Endpoint_Policy"), ("serverTLS", "TLS_Server")):
                if key in item:
                    refers(item[key], kind)
        case "TLS_Server":
            assert item["requireSNI"] is True and item["certificates"]
            # AS3 allows them unless it is told not to.
            assert item["tls1_0Enabled"] is False and item["tls1_1Enabled"] is False
            for each in item["certificates"]:
                assert {"certificate"} <= set(each) <= {"certificate", "matchToSNI"}
                assert PLAIN.fullmatch(each.get("matchToSNI", "-").removeprefix("*"))
                refers(each["certificate"], "Certificate")
        case "Certificate":
            for each in (item["certificate"], item["privateKey"]):
                assert set(each) == {"bigip"} and re.fullmatch(r"/[A-Za-z0-9._/-]+", each["bigip"])
        case "Endpoint_Policy":
            assert item["strategy"] == "first-match"
            names = [rule["name"] for rule in item["rules"]]
            assert len(set(names)) == len(names) and all(NAME.fullmatch(each) for each in names)
            for rule in item["rules"]:
                check_rule(rule, items)


def compared(condition):
    """What a condition compares with."""
    return condition["path" if condition["type"] == "httpUri" else "all"]


def check_rule(rule, items):
    assert set(rule) == {"name", "conditions", "actions"}
    for condition in rule["conditions"]:
        assert set(condition) == {"type", "event"} | CONDITIONS[condition["type"]] and condition["event"] == "request"
        test = compared(condition)
        assert {"operand", "values"} <= set(test) <= {"operand", "values", "caseSensitive"}
        # Where it is not said, AS3 takes any case; methods are what they are in one.
        assert test["operand"] in OPERANDS and test["values"] and isinstance(test["caseSensitive"], bool)
        assert test["caseSensitive"] or condition.get("name") == "host"
        assert all(PLAIN.fullmatch(each) for each in [*test["values"], condition.get("name", "-")])
    for action in rule["actions"]:
        assert set(action) == {"type", "event"} | ACTIONS[action["type"]] and action["event"] == "request"
        match action["type"]:
            case "forward":
                assert set(action["select"]) == {"pool"} and set(action["select"]["pool"]) == {"use"}
                assert items[action["select"]["pool"]["use"]]["class"] == "Pool"
            case "httpRedirect":
                assert action["location"].startswith("tcl:")
            case "httpUri":
                assert set(action["replace"]) == {"path"}
                assert re.fullmatch(r"tcl:/\[string range \[HTTP::path\] \d+ end\]", action["replace"]["path"])


def pick(items, scheme, host_name, path, method="GET", headers=()):
    """The actions of the first rule that takes a request, as BIG-IP does with first-match."""
    compare = {"equals": str.__eq__, "starts-with": str.startswith, "ends-with": str.endswith}

    def holds(condition):
        test = compared(condition)
        value = {"httpUri": path, "httpMethod": method}.get(condition["type"])
        if value is None:
            value = host_name if condition["name"] == "host" else dict(headers).get(condition["name"], "")
        return any(compare[test["operand"]](value, each) for each in test["values"])

    for rule in items[f"policy_{scheme}"]["rules"]:
        if all(holds(each) for each in rule["conditions"]):
            return rule["actions"]
    return []


def addresses(items, actions):
    pool = next((each["select"]["pool"]["use"] for each in actions if each["type"] == "forward"), None)
    return [(each["serverAddresses"][0], each["ratio"]) for each in items[pool]["members"]] if pool else None


def test_the_sample_is_routed():
    items, _ = items_of(SAMPLE)
    web = [("10.0.0.1", 1), ("10.0.0.2", 1)]
    assert addresses(items, pick(items, "http", "shop.test", "/")) == web
    assert addresses(items, pick(items, "http", "shop.test", "/apple")) == web
    assert addresses(items, pick(items, "https", "a.b.shop.test", "/")) == web
    assert addresses(items, pick(items, "http", "nobody.test", "/")) == web
    split = [("10.0.1.1", 6)] + [(f"10.0.2.{n}", 1) for n in range(1, 5)]
    for path in ("/app", "/app/x"):
        actions = pick(items, "http", "shop.test", path)
        assert addresses(items, actions) == split
        assert actions[1]["replace"]["path"] == "tcl:/[string range [HTTP::path] 5 end]"
    assert addresses(items, pick(items, "http", "x.deep.shop.test", "/")) == [("10.0.1.1", 1)]
    nobody = pick(items, "http", "shop.test", "/app", headers=(("x-preview", "green"),))
    assert [each["type"] for each in nobody] == ["drop"]


def test_tls_redirects_and_certificates():
    items, _ = items_of(SAMPLE)
    assert pick(items, "http", "only.test", "/x")[0]["location"] == "tcl:https://[HTTP::host][HTTP::uri]"
    assert pick(items, "https", "only.test", "/x")[0]["type"] == "forward"
    assert pick(items, "http", "only.test", "/y")[0]["type"] == "drop"
    assert pick(items, "http", "old.test", "/")[0]["location"] == "tcl:https://shop.test[HTTP::uri]"
    shown = items["tls"]["certificates"]
    assert [each["matchToSNI"] for each in shown] == ["only.test", "shop.test"] and items["tls"]["requireSNI"]
    assert items[shown[1]["certificate"]]["certificate"] == {"bigip": "/Common/shop.pem"}
    monitor = next(each for each in items.values() if isinstance(each, dict) and each["class"] == "Monitor")
    assert monitor["send"].startswith("GET /up HTTP/1.1\\r\\n") and monitor["interval"] == 3
    assert items["serve_tcp_5432"]["virtualPort"] == 5432


def test_shares_and_probes_stay_within_what_as3_takes():
    items, said = items_of(snapshot(
        services=[service("most", "10.0.0.1", weight=1000), service("some", "10.0.0.2", weight=333),
                  service("few", "10.0.0.3", "10.0.0.4", weight=1)],
        routes=[route("a.test", "/", "most", "some", "few")]))
    shares = addresses(items, pick(items, "http", "a.test", "/"))
    assert shares == [("10.0.0.1", 100), ("10.0.0.2", 33), ("10.0.0.3", 1), ("10.0.0.4", 1)]
    assert "most" in said and "rounded" in said
    for fall, interval_ms, interval, timeout in (
            (3, 600_000, 299, 898), (1, 7_200_000, 899, 900), (100, 9_000, 8, 801), (3, 100, 1, 4), (2, 5000, 5, 11)):
        changed = copy.deepcopy(SAMPLE)
        changed["services"][0]["options"]["health"].update(fall=fall, interval_ms=interval_ms, path="/live?deep=1",
                                                           statuses=[[200, 399], [401, 401]])
        items, said = items_of(changed)
        monitor = next(each for each in items.values() if isinstance(each, dict) and each["class"] == "Monitor")
        assert (monitor["interval"], monitor["timeout"]) == (interval, timeout)
        assert ("probed" in said) == (interval * 1000 < interval_ms)
        assert monitor["receive"] == "HTTP/1.(0|1) (2|3|4)" and "GET /live?deep=1 " in monitor["send"]


@pytest.mark.parametrize("changes, kind", [
    ({}, "http"), ({"port": 9000}, "http"), ({"mode": "tcp"}, "tcp"), ({"mode": "tcp", "port": 9000}, "tcp"),
    ({"path": "/`x`", "port": 9000}, "tcp")])
def test_tasks_are_probed_at_the_port_their_label_says(changes, kind):
    changed = copy.deepcopy(SAMPLE)
    changed["services"][0]["options"]["health"].update(changes)
    items, said = items_of(changed)
    monitor = next(each for each in items.values() if isinstance(each, dict) and each["class"] == "Monitor")
    assert (monitor["monitorType"], monitor.get("targetPort")) == (kind, changes.get("port"))
    assert ("probed by connections" in said) == ("path" in changes)


def test_what_would_be_less_protected_is_left_out():
    items, said = items_of(SAMPLE)
    # The default backend takes the host, as it does for every host without a route.
    assert "10.0.4.1" not in json.dumps(items) and "staff" in said
    for options in ({"backend_tls": {"verify": True, "authorities": None, "server_name": None}},
                    {"backend_tls": {"verify": False, "authorities": None, "server_name": None}},
                    {"proxy_protocol": "v1"}):
        changed = copy.deepcopy(SAMPLE)
        changed["services"][0]["options"] = options
        items, said = items_of(changed)
        assert "10.0.0.1" not in json.dumps(items) and "web" in said


def test_no_server_name_is_an_address():
    address = "[2001:db8::1]"
    items, said = items_of(snapshot(
        services=[service("web", "10.0.0.1"), service("six", "2001:db8::2")], hosts=[host(address, ["shop.pem"])],
        routes=[route(address, "/", "web"), route("a.test", "/", "six")]))
    assert "tls" not in items and f"{address}/ is left out" in said
    assert addresses(items, pick(items, "http", "a.test", "/")) == [("2001:db8::2", 1)]


@pytest.mark.parametrize("text", ['"; drop', "$x [exec id]", "a}b{", "\\", "\n", "\u2028", "tcl:[exec id]", "`I`"])
def test_hostile_texts_stay_texts(text):
    changed = copy.deepcopy(SAMPLE)
    changed["services"][0]["name"] = text
    changed["services"][0]["options"]["health"]["path"] = "/" + text
    changed["routes"][0].update(path="/" + text, conditions={"headers": [{"name": "x-a", "value": text}],
                                                             "methods": []})
    changed["hosts"][3]["redirects"][0]["target"] = "https://x/" + text
    items, said = items_of(changed)
    assert pick(items, "http", "old.test", "/")[0]["type"] == "drop" and "left out" in said
    locations = re.findall(r'"location": "(.*?)"', json.dumps(items))
    assert set(locations) == {"tcl:https://[HTTP::host][HTTP::uri]"}


def test_equal_snapshots_give_equal_declarations():
    assert run(SAMPLE).stdout == run(SAMPLE).stdout


@pytest.mark.parametrize("document, environment, status", [
    ({"interlock_snapshot": 2}, {}, 2), (SAMPLE, {"F5_ADDRESS": ""}, 2),
    (SAMPLE, {"F5_URL": "http://127.0.0.1:1", "F5_USER": "u", "F5_PASSWORD": "p"}, 1),
    (SAMPLE, {"F5_URL": "http://127.0.0.1:1"}, 1),
])
def test_failures_are_told(document, environment, status):
    done = run(document, **environment)
    assert done.returncode == status and "f5-as3" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("code, status", [(200, 0), (422, 1)])
def test_it_is_sent_to_the_device(tmp_path, code, status):
    received = []

    class Device(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, self.headers["Authorization"], json.loads(body)))
            answer = json.dumps({"results": [{"code": code, "message": "x"}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    (tmp_path / "password").write_text("secret\n")
    with http.server.HTTPServer(("127.0.0.1", 0), Device) as device:
        thread = threading.Thread(target=device.handle_request)
        thread.start()
        done = run(SAMPLE, F5_URL=f"http://127.0.0.1:{device.server_port}", F5_USER="admin",
                   F5_PASSWORD_FILE=str(tmp_path / "password"))
        thread.join(10)
    assert done.returncode == status, done.stderr
    path, authorization, declaration = received[0]
    assert path == "/mgmt/shared/appsvcs/declare" and authorization == "Basic YWRtaW46c2VjcmV0"
    check_form(declaration)
    assert "secret" not in done.stderr + done.stdout
