#!/usr/bin/env python3
"""From a snapshot to an AS3 declaration for F5 BIG-IP: an example for `interlock extension exec`.

    interlock extension exec -- python3 f5-as3.py

Reads the snapshot's JSON from standard input. Without F5_URL the declaration is printed; with it, it is sent to
F5_URL/mgmt/shared/appsvcs/declare, and what is not accepted is a failure, which interlock tries again.

One virtual server at F5_ADDRESS for http, one for https if a host has a certificate, one for each TCP port. A policy
chooses the pool by host and path. Certificates are those of the BIG-IP: the snapshot names them and holds none.
What BIG-IP policies do not express is told on standard error; a route that would be less protected than its labels say
is left out, and so is one with characters that AS3 might not quote.

    F5_ADDRESS          the address of the virtual servers (needed)
    F5_TENANT           the tenant, which is this script's alone (interlock)
    F5_CERTIFICATES     the folder of certificates and keys on the BIG-IP (/Common)
    F5_URL              https://bigip.example.com; nothing: print
    F5_USER             with F5_PASSWORD, or F5_PASSWORD_FILE
    F5_CA_FILE          who signed the BIG-IP's own certificate; nothing: the system's authorities
"""

import base64
import fractions
import hashlib
import json
import math
import os
import re
import ssl
import sys
import urllib.request

SAFE_TARGET = re.compile(r"https?://[A-Za-z0-9.:/_~%-]+")
# AS3 writes a script of what it gets, and does not promise to quote every text in it.
PLAIN = re.compile(r"[A-Za-z0-9._~%:@=+,&/-]*")
# What AS3 takes.
GREATEST_RATIO = 100
LONGEST_TIMEOUT = 900
BALANCING = {"round_robin": "round-robin", "least_conn": "least-connections-member",
             "random": "least-connections-member"}


def say(service, text):
    print(f"f5-as3: {service}: {text}", file=sys.stderr)


def name_of(kind, *parts):
    """A name that AS3 takes, whatever services are called."""
    return f"{kind}_{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"


def host_rank(host):
    """Exact hosts, then the longest wildcards, then any."""
    return (2, 0, "") if host == "*" else (1, -len(host), host) if host.startswith("*.") else (0, 0, host)


class Declaration:
    def __init__(self, snapshot, environment):
        self.snapshot, self.environment = snapshot, environment
        self.services = {each["id"]: each for each in snapshot["services"]}
        self.hosts = {each["host"]: each for each in snapshot["hosts"]}
        self.items = {"class": "Application", "template": "generic"}
        self.address = environment["F5_ADDRESS"]

    def make(self):
        routes = sorted((each for each in self.snapshot["routes"] if self.is_protected(each)), key=self.rank)
        self.add_virtual_server("http", 80, routes)
        secure = [host for host in self.hosts.values() if self.is_host_protected(host["host"])
                  and host["tls"]["certificates"] and PLAIN.fullmatch(host["host"].removeprefix("*"))]
        if secure:
            self.add_certificates(secure)
            self.add_virtual_server("https", 443, routes, serverTLS="tls", redirect80=False)
        for stream in self.snapshot["streams"]:
            self.add_stream(stream)
        for host in self.snapshot["hosts"]:
            if host["passthrough"]:
                for each in host["passthrough"]:
                    say(self.services[each]["name"], f"TLS of {host['host']} is not passed on by this script")
        tenant = self.environment.get("F5_TENANT", "interlock")
        return {
            "class": "AS3", "action": "deploy", "persist": True,
            "declaration": {
                "class": "ADC", "schemaVersion": "3.30.0", "id": "interlock",
                "label": f"snapshot {self.snapshot['order']['version']}",
                tenant: {"class": "Tenant", "routes": self.items},
            },
        }

    # What must not be served with less than its labels say.

    def is_host_protected(self, host):
        options = self.hosts.get(host)
        if options is None:
            return True
        tls = options["tls"]
        return not tls["client_auth"] and not tls["min_version"] and not options["passthrough"]

    @staticmethod
    def is_plain(route):
        conditions = route["conditions"]
        texts = [route["host"].removeprefix("*"), route["path"], *conditions["methods"]]
        for header in conditions["headers"]:
            texts += [header["name"], header["value"]]
        return all(PLAIN.fullmatch(each) for each in texts)

    def is_protected(self, route):
        names = [self.services[each]["name"] for each in route["services"]]
        reason = None
        if not self.is_host_protected(route["host"]):
            reason = "client certificates, a minimum version of TLS and passthrough are not in this script"
        elif any(header["value"] is None for header in route["conditions"]["headers"]):
            reason = "a policy cannot ask whether a header is there"
        elif not self.is_plain(route):
            reason = "only letters, digits and ._~%:@=+,&/- are given to AS3"
        elif any((self.services[each]["options"].get("backend_tls") or {}).get("verify") for each in route["services"]):
            reason = "tasks' certificates are not verified by this script"
        elif any(self.services[each]["options"].get("proxy_protocol") for each in route["services"]):
            reason = "PROXY protocol to tasks is not in this script"
        elif any(self.services[each]["options"].get("backend_tls") for each in route["services"]):
            reason = "TLS to tasks is not in this script"
        for each in names if reason else ():
            say(each, f"{route['host']}{route['path']} is left out: {reason}")
        return reason is None

    # Pools.

    def add_pool(self, services, balancing):
        """The pool of those services; None if nobody there gets requests."""
        chosen = [self.services[each] for each in services]
        weights = [each["options"].get("weight") for each in chosen]
        is_weighted = any(each is not None for each in weights)
        shares = []
        for service, weight in zip(chosen, weights):
            ready = [each for each in service["endpoints"] if each["state"] == "ready"]
            weight = 100 if weight is None else weight
            if is_weighted and weight == 0:
                continue
            share = fractions.Fraction(weight, len(ready)) if is_weighted and ready else fractions.Fraction(1)
            shares += [(each, share) for each in ready]
        if not shares:
            return None
        common = math.lcm(*(share.denominator for _, share in shares))
        whole = [int(share * common) for _, share in shares]
        divisor = math.gcd(*whole)
        ratios = [number // divisor for number in whole]
        most = max(ratios)
        if most > GREATEST_RATIO:
            ratios = [max(1, round(GREATEST_RATIO * number / most)) for number in ratios]
            say(chosen[0]["name"], f"shares are whole numbers up to {GREATEST_RATIO} on BIG-IP, and rounded here")
        members = [{"servicePort": each["port"], "serverAddresses": [each["address"]], "shareNodes": True,
                    "ratio": ratio} for (each, _), ratio in zip(shares, ratios)]
        mode = BALANCING[balancing["method"]]
        if is_weighted:
            mode = "ratio-member" if mode == "round-robin" else "ratio-least-connections-member"
        for service in chosen if balancing["key"] else ():
            say(service["name"], "stickiness belongs to virtual servers on BIG-IP, so this route has none")
        name = name_of("pool", services, balancing)
        self.items[name] = {
            "class": "Pool", "loadBalancingMode": mode, "members": members,
            "monitors": [self.add_monitor(chosen[0])]}
        return name

    def add_monitor(self, service):
        health = service["options"].get("health")
        if health is None:
            return "tcp"
        interval = max(1, health["interval_ms"] // 1000)
        longest = (LONGEST_TIMEOUT - 1) // health["fall"]
        if interval > longest:
            interval = longest
            say(service["name"], f"is probed every {interval} s: {health['fall']} probes have to fit into a time-out")
        monitor = {"class": "Monitor", "interval": interval, "timeout": interval * health["fall"] + 1}
        if health["port"] is not None:
            monitor["targetPort"] = health["port"]
        is_plain = PLAIN.fullmatch(health["path"].replace("?", ""))
        if health["mode"] != "tcp" and not is_plain:
            say(service["name"], "is probed by connections: only letters, digits and ._~%:@=+,&/-? are given to AS3")
        if health["mode"] == "tcp" or not is_plain:
            monitor["monitorType"] = "tcp"
        else:
            classes = "|".join(sorted({str(hundred) for first, last in health["statuses"]
                                       for hundred in range(first // 100, last // 100 + 1)}))
            monitor.update({
                "monitorType": "http", "receive": f"HTTP/1.(0|1) ({classes})",
                "send": f"GET {health['path']} HTTP/1.1\\r\\nHost: health\\r\\nConnection: close\\r\\n\\r\\n"})
        name = name_of("monitor", monitor)
        self.items[name] = monitor
        return {"use": name}

    # Policies.

    @staticmethod
    def rank(route):
        conditions = route["conditions"]
        return (host_rank(route["host"]), -len(route["path"]), route["path"],
                not conditions["headers"], not conditions["methods"])

    def conditions(self, route, path):
        """Conditions of a rule, all of which must hold."""
        found = []
        host = route["host"]
        if host != "*":
            is_wildcard = host.startswith("*.")
            found.append({"type": "httpHeader", "name": "host", "event": "request", "all": {
                "operand": "ends-with" if is_wildcard else "equals", "values": [host.removeprefix("*")],
                "caseSensitive": False}})
        if path is not None:
            found.append({"type": "httpUri", "event": "request", "path": {
                "operand": path[0], "values": [path[1]], "caseSensitive": True}})
        for header in route["conditions"]["headers"]:
            found.append({"type": "httpHeader", "name": header["name"], "event": "request", "all": {
                "operand": "equals", "values": [header["value"]], "caseSensitive": True}})
        if route["conditions"]["methods"]:
            found.append({"type": "httpMethod", "event": "request", "all": {
                "operand": "equals", "values": route["conditions"]["methods"], "caseSensitive": True}})
        return found

    def actions(self, route, scheme):
        redirects = {each["scheme"]: each["target"] for each in self.hosts.get(route["host"], {}).get("redirects", [])}
        target = redirects.get(scheme)
        if target is not None:
            if SAFE_TARGET.fullmatch(target):
                # The rest is Tcl of this script's own.
                return [{"type": "httpRedirect", "event": "request", "location": f"tcl:{target}[HTTP::uri]"}]
            return [{"type": "drop", "event": "request"}]
        if scheme == "http" and route["requires_tls"]:
            return [{"type": "httpRedirect", "event": "request", "location": "tcl:https://[HTTP::host][HTTP::uri]"}]
        pool = self.add_pool(route["services"], route["balancing"])
        if pool is None:
            return [{"type": "drop", "event": "request"}]
        made = [{"type": "forward", "event": "request", "select": {"pool": {"use": pool}}}]
        if route["rewrites_prefix"]:
            # The slash is this script's own: the bare prefix leaves no path to send.
            made.append({"type": "httpUri", "event": "request", "replace": {
                "path": f"tcl:/[string range [HTTP::path] {len(route['path']) + 1} end]"}})
        return made

    def add_virtual_server(self, scheme, port, routes, **more):
        rules = []
        hosts = list(dict.fromkeys(route["host"] for route in routes))
        for host in hosts:
            own = [route for route in routes if route["host"] == host]
            for route in own:
                actions = self.actions(route, scheme)
                # Whole segments: the path itself, and what is below it.
                paths = [None] if route["path"] == "/" else [
                    ("equals", route["path"]), ("starts-with", route["path"] + "/")]
                for path in paths:
                    rules.append({"name": f"rule{len(rules)}", "conditions": self.conditions(route, path),
                                  "actions": actions})
            if not any(route["path"] == "/" and not self.has_conditions(route) for route in own):
                # Another host's route must not take what none of this one takes.
                rest = {"host": host, "conditions": {"headers": [], "methods": []}}
                rules.append({"name": f"rule{len(rules)}", "conditions": self.conditions(rest, None),
                              "actions": [{"type": "drop", "event": "request"}]})
        policy = f"policy_{scheme}"
        self.items[policy] = {"class": "Endpoint_Policy", "strategy": "first-match", "rules": rules}
        self.items[f"serve_{scheme}"] = {
            "class": f"Service_{scheme.upper()}", "virtualAddresses": [self.address], "virtualPort": port,
            "policyEndpoint": policy, "persistenceMethods": [], **more}

    @staticmethod
    def has_conditions(route):
        return bool(route["conditions"]["headers"] or route["conditions"]["methods"])

    # TLS and TCP.

    def add_certificates(self, hosts):
        folder = self.environment.get("F5_CERTIFICATES", "/Common").rstrip("/")
        known = set(self.snapshot["secrets"]["names"])

        def reference(names):
            return {"bigip": f"{folder}/{next((each for each in names if each in known), names[0])}"}

        shown = []
        for host in sorted(hosts, key=lambda each: host_rank(each["host"])):
            pair = host["tls"]["certificates"][0]
            name = name_of("certificate", pair)
            self.items[name] = {
                "class": "Certificate", "certificate": reference(pair["certificate"]),
                "privateKey": reference(pair["key"] or pair["certificate"])}
            entry = {"certificate": name}
            if host["host"] != "*":
                entry["matchToSNI"] = host["host"]
            shown.append(entry)
        # AS3 would allow the old versions. The newest needs BIG-IP 14, so it is left to whoever knows theirs.
        self.items["tls"] = {"class": "TLS_Server", "requireSNI": True, "tls1_0Enabled": False, "tls1_1Enabled": False,
                             "certificates": shown}

    def add_stream(self, stream):
        if stream["hosts"]:
            for host in stream["hosts"]:
                for each in host["services"]:
                    say(self.services[each]["name"], f"port {stream['port']} by server name is not in this script")
            return
        special = {"backend_tls", "proxy_protocol"}
        if any(self.services[each]["options"].keys() & special for each in stream["services"]):
            for each in stream["services"]:
                say(self.services[each]["name"], "TLS and PROXY protocol to tasks are not in this script")
            return
        pool = self.add_pool(stream["services"], stream["balancing"])
        self.items[f"serve_tcp_{stream['port']}"] = {
            "class": "Service_TCP", "virtualAddresses": [self.address], "virtualPort": stream["port"],
            "persistenceMethods": [], **({"pool": pool} if pool else {})}


def send(declaration, environment):
    """Raises if the BIG-IP does not take all of it."""
    password = environment.get("F5_PASSWORD")
    if password is None:
        with open(environment["F5_PASSWORD_FILE"], encoding="utf-8") as file:
            password = file.read().rstrip("\n")
    token = base64.b64encode(f"{environment['F5_USER']}:{password}".encode()).decode()
    request = urllib.request.Request(
        environment["F5_URL"].rstrip("/") + "/mgmt/shared/appsvcs/declare", json.dumps(declaration).encode(),
        {"Content-Type": "application/json", "Authorization": f"Basic {token}"}, method="POST")
    trust = ssl.create_default_context(cafile=environment.get("F5_CA_FILE"))
    with urllib.request.urlopen(request, timeout=25, context=trust) as answer:
        results = json.load(answer).get("results", [])
    bad = [each for each in results if each.get("code", 500) not in (200, 202)]
    if bad:
        raise RuntimeError(f"the BIG-IP says: {json.dumps(bad)[:1000]}")


def main(environment):
    snapshot = json.load(sys.stdin)
    if snapshot.get("interlock_snapshot") != 1:
        print("f5-as3: this is no snapshot of version 1", file=sys.stderr)
        return 2
    if not environment.get("F5_ADDRESS"):
        print("f5-as3: F5_ADDRESS is not set", file=sys.stderr)
        return 2
    declaration = Declaration(snapshot, environment).make()
    if environment.get("F5_URL"):
        try:
            send(declaration, environment)
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            print(f"f5-as3: {error}", file=sys.stderr)
            return 1
    else:
        json.dump(declaration, sys.stdout, indent=1)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
