"""`interlock explain`: every row is explained, of the running instance and of the services file, and then really sent.
What the proxy answers, and what the task sees, must be what was said. Words are not compared; facts are.
"""

import contextlib
import json
import random
import re
import socket
import subprocess
import urllib.parse

import pytest

from harness import Close, Interlock, RecordingBackend, binary_path, certificate, context, refusal, response, run_binary
from harness import free_port, secured, service, wait_until
from harness.feed import Feed
from test_passthrough import TLSTask

pytestmark = pytest.mark.plain

NAMES = ("web", "green", "posts", "app", "deep", "wild", "exact", "safe", "both", "default", "zero", "one", "two",
         "raw", "small")


def explain(proxy, url, *words, **environment):
    """(exit status, lines, standard error) as an operator sees them who asks the instance."""
    settings = {"INTERLOCK_ADMIN_LISTEN": f"127.0.0.1:{proxy.admin_port}", **environment}
    done = subprocess.run([binary_path(), "explain", url, *words], env=settings, capture_output=True, text=True,
                          timeout=30, check=False)
    return done.returncode, done.stdout.splitlines(), done.stderr


def words_of(method, headers):
    return ["--method", method] + [word for name, value in headers for word in ("--header", f"{name}: {value}")]


def page(proxy, url, method="GET", headers=()):
    """The same as JSON."""
    items = [("url", url), ("method", method)] + [("header", f"{name}: {value}") for name, value in headers]
    answer = proxy.admin("/api/explain?" + urllib.parse.urlencode(items, quote_via=urllib.parse.quote))
    assert answer.status == 200, answer
    return answer.json()


@pytest.fixture(scope="module")
def stage():
    with contextlib.ExitStack() as stack:
        tasks = {name: stack.enter_context(RecordingBackend(
            default=lambda request, name=name: response(200, name.encode()))) for name in NAMES}
        own, secrets = TLSTask("own.test"), {}
        stack.callback(own.close)

        def of(name, hosts, **labels):
            return service(name, [tasks[name]], hosts=hosts, **labels)
        services = [
            of("web", "web.test"),
            of("green", "web.test", match_headers="X-Preview: green"),
            of("posts", "web.test", context_root="/posts", match_methods="POST,PURGE"),
            of("app", "web.test", context_root="/app", context_root_rewrite=True),
            of("deep", "web.test", context_root="/app/deep", match_headers="X-Deep"),
            of("wild", "*.wild.test"),
            of("exact", "exact.wild.test", context_root="/in"),
            secured(secrets, "safe", [tasks["safe"]], certificate("safe.test"), hosts="safe.test", ssl_only=True),
            of("both", "old.test,new.test,gone.test", redirects="http://old.test,http://new.test:8080/to"),
            service("own", [own.port], hosts="own.test", ssl_passthrough=True),
            service("default", [tasks["default"]], default_backend=True),
            of("zero", "zero.test,split.test", weight=0),
            of("one", "split.test,fair.test", weight=1),
            of("two", "fair.test", lb="random"),
            of("raw", "raw.test", context_root="/a", path_policy="raw"),
            of("small", "small.test", max_body_size="10"),
            service("nobody", [], hosts="nobody.test"),
        ]
        made = stack.enter_context(Interlock(services, https=True, secrets=secrets))
        made.tasks, made.own = tasks, own
        made.settings = {"INTERLOCK_HTTPS_LISTEN": ":443", "INTERLOCK_DOCKER": "off"}
        yield made


#: URL, method, fields
ROWS = [
    ("http://web.test/",),
    ("http://web.test",),
    ("http://WEB.Test.:8123/x?y=z&a",),
    ("http://web.test/", "GET", [("X-Preview", "green")]),
    ("http://web.test/", "GET", [("x-preview", "blue")]),
    ("http://web.test/x", "DELETE", [("A", "b"), ("X-Preview", "green")]),
    ("http://web.test/posts/1", "POST"),
    ("http://web.test/posts/1", "PURGE"),
    ("http://web.test/posts/1", "purge"),
    ("http://web.test/posts/1",),
    ("http://web.test/posts/1", "GET", [("X-Preview", "green")]),
    ("http://web.test/app/x?y",),
    ("http://web.test/app?y",),
    ("http://web.test/app", "POST"),
    ("http://web.test/app/",),
    ("http://web.test/apple",),
    ("http://web.test/app/deep/x", "GET", [("X-Deep", "")]),
    ("http://web.test/app/deep/x",),
    ("http://a.b.wild.test/in",),
    ("http://exact.wild.test/in/x",),
    ("http://exact.wild.test/out",),
    ("http://wild.test/",),
    ("http://nowhere.test/x",),
    ("http://[::1]/",),
    ("http://10.0.0.1/x", "GET", [("Host", "web.test")]),
    ("http://safe.test/x?y",),
    ("http://safe.test/x", "PUT"),
    ("http://SAFE.test:80/",),
    ("http://safe.test/.well-known/acme-challenge/token",),
    ("http://safe.test/", "GET", [("X-Forwarded-Proto", "https")]),
    ("https://safe.test/x",),
    ("https://safe.test/x/../../y",),
    ("http://old.test/a?b",),
    ("http://new.test/",),
    ("http://own.test/x",),
    ("http://zero.test/",),
    ("http://split.test/",),
    ("http://fair.test/",),
    ("http://nobody.test/",),
    ("http://nobody.test/..",),
    ("http://web.test/../x",),
    ("http://web.test/%61pp/x",),
    ("http://web.test/app/%2e%2e/x",),
    ("http://web.test/app%2Fx",),
    ("http://web.test//app/x",),
    ("http://web.test/a%20b/%C3%A4?q=%00",),
    ("http://raw.test/a/../x",),
    ("http://raw.test/b",),
    ("http://small.test/", "POST", [("Content-Length", "11")]),
    ("http://web.test/", "OPTIONS", [("Max-Forwards", "0")]),
    ("http://web.test/", "OPTIONS", [("Max-Forwards", "1")]),
    ("http://web.test/", "TRACE", [("Max-Forwards", "0")]),
    ("http://web.test/", "CONNECT"),
    ("http://web.test/", "GET", [("Host", "web.test"), ("Host", "web.test")]),
    ("http://web.test/", "GET", [("Host", "we b.test")]),
    ("http://web.test/", "GET", [("Bad Name", "x")]),
    ("http://web.test/", "GET", [("Expect", "something")]),
    ("http://web.test/" + "x" * 3000,),
]


def send(proxy, url, method="GET", headers=()):
    """What really happens: (status, Location, code, service, target at the task)."""
    url = url.partition("#")[0]  # which stays with the client
    address = urllib.parse.urlsplit(url)
    target = url.partition("//")[2].partition("/")
    target = "/" + target[2] if target[1] else "/"
    hosts = [value for name, value in headers if name == "Host"] or [address.netloc]
    if address.port == (443 if address.scheme == "https" else 80):
        hosts = [address.netloc.rpartition(":")[0]] if hosts == [address.netloc] else hosts
    fields = "".join(f"Host: {each}\r\n" for each in hosts)
    fields += "".join(f"{name}: {value}\r\n" for name, value in headers if name != "Host")
    fields += "Accept: application/json\r\nConnection: close\r\n"
    before = {name: len(task.requests) for name, task in proxy.tasks.items()}
    with (proxy.connect_tls(address.hostname) if address.scheme == "https" else proxy.connect()) as connection:
        connection.send(f"{method} {target} HTTP/1.1\r\n{fields}\r\n".encode())
        answer = connection.read_response(method)
    served = {name: task.requests[-1].target for name, task in proxy.tasks.items() if len(task.requests) > before[name]}
    assert len(served) <= 1
    code = re.search(r'"(?:code|error)": ?"(\w+)"', answer.text)
    return answer.status, answer.header("location"), code and code[1], *(next(iter(served.items()), (None, None)))


def check(said, sent):
    status, location, code, name, target = sent
    if said["verdict"] == "task":
        assert status == 200 and name in [each["name"] for each in said["services"]], (said, sent)
        assert said["task_target"] == target, (said, sent)
    elif said["verdict"] == "redirect":
        assert (said["status"], said["location"], None) == (status, location, name), (said, sent)
    else:
        assert (said["verdict"], said["status"], None) == ("answer", status, name), (said, sent)
        assert code in (None, said["code"]), (said, sent)
    assert said["served"] == (status < 400 and said["verdict"] != "answer")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(str(each) for each in row)[:100])
def test_the_proxy_does_what_was_said(stage, row):
    url = row[0]
    method = row[1] if len(row) > 1 else "GET"
    headers = row[2] if len(row) > 2 else []
    said = page(stage, url, method, headers)
    check(said, send(stage, url, method, headers))
    exit_status, lines, fault = explain(stage, url, *words_of(method, headers))
    assert exit_status == (0 if said["served"] else 1), (lines, fault)
    assert [re.sub(" +", " ", line) for line in lines] == [
        re.sub(" +", " ", f"{fact['name']} {fact['text']}") for fact in said["facts"]]
    # The file says the same, but for what only an instance can know.
    of_file = run_binary("explain", url, str(stage.services_path), *words_of(method, headers),
                         environment=stage.settings)
    told = [line for line in of_file.stdout.splitlines() if not line.startswith("note ")]
    assert (of_file.returncode, told) == (exit_status, lines), (of_file.stdout, of_file.stderr)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_asked(stage, seed):
    """Hosts, paths, methods and fields put together at random."""
    draw = random.Random(seed)
    hosts = ["web.test", "WEB.test.", "a.wild.test", "exact.wild.test", "safe.test", "old.test", "own.test",
             "zero.test", "split.test", "raw.test", "nobody.test", "other.test", "web.test:81", "small.test",
             "wild.test", "-.test"]
    parts = ["", "app", "deep", "posts", "in", "a", "x", "..", ".", "%2e%2e", "%2F", "..;x", "%61pp", "app%2fdeep", "%",
             ".well-known/acme-challenge/t", "*", "a?b=/../c", "?", "#f"]
    fields = [("X-Preview", "green"), ("X-Preview", "blue"), ("X-Deep", "1"), ("Content-Length", "0"),
              ("Host", "raw.test"), ("Max-Forwards", "0"), ("X-Forwarded-Host", "web.test"), ("Upgrade", "h2c"),
              ("Connection", "X-Preview")]
    for _ in range(100):
        url = f"http://{draw.choice(hosts)}/{'/'.join(draw.choices(parts, k=draw.randrange(4)))}"
        method = draw.choice(["GET", "GET", "POST", "PURGE", "OPTIONS", "TRACE"])
        headers = draw.sample(fields, draw.randrange(3))
        said, sent = page(stage, url, method, headers), send(stage, url, method, headers)
        check(said, sent)


def test_codes_are_those_of_the_error_page(stage):
    """The page names its code, so `check` compares something."""
    assert send(stage, "http://nobody.test/")[2] == "no_task"
    assert send(stage, "http://web.test/../x")[2] == "ambiguous_path"


def test_tls_that_is_passed_on(stage):
    said = page(stage, "https://own.test/x")
    assert said["verdict"] == "passed_on" and [each["name"] for each in said["services"]] == ["own"]
    assert explain(stage, "https://own.test/x")[0] == 0
    with stage.connect_tls("own.test", tls=context()) as connection:
        assert connection.serial == stage.own.certificate.serial
    assert stage.own.count == 1


def test_tls_that_is_refused(stage):
    exit_status, lines, _ = explain(stage, "https://web.test/")
    assert exit_status == 1
    alert = refusal(stage.https_port, "web.test")
    assert alert.lower() in lines[-1].replace("_", " ").lower() or alert in lines[-1], (alert, lines[-1])


def test_settings_count(interlock, backend):
    task, secrets = backend(), {"all.pem": certificate("web.test", "other.test").bundle}
    proxy = interlock([service("web", [task], hosts="web.test", context_root="/x")], https=True, secrets=secrets,
                      environment={"INTERLOCK_SSL_ONLY": "true", "INTERLOCK_HTTPS_PUBLIC_PORT": "8443",
                                   "INTERLOCK_DEFAULT_CERT": "all.pem", "INTERLOCK_MAX_BODY_SIZE": "5"})
    proxy.tasks = {"web": task}
    for row in [("http://web.test/x/y",), ("http://web.test/none",), ("http://other.test/",), ("https://web.test/x",),
                ("https://web.test/none",), ("https://other.test/",),
                ("https://web.test/x", "POST", [("Content-Length", "6")])]:
        check(page(proxy, *row), send(proxy, *row))
    closed = interlock([service("web", [task], hosts="web.test")])
    exit_status, lines, _ = explain(closed, "https://web.test/")
    assert exit_status == 1 and lines[-1].endswith("nobody listens: INTERLOCK_HTTPS_LISTEN is off")


def test_a_task_without_a_good_probe_gets_nothing(interlock, backend):
    well = backend()
    services = [service("well", [well], hosts="well.test", health_mode="tcp")]
    proxy = interlock(services)
    proxy.tasks = {"well": well}
    proxy.write_services(services + [service("web", ["127.0.0.1:1"], hosts="web.test", health_mode="tcp")])
    wait_until(lambda: page(proxy, "http://web.test/")["services"])
    exit_status, lines, _ = explain(proxy, "http://web.test/")
    assert exit_status == 1 and any("ready, unknown" in line for line in lines), lines
    check(page(proxy, "http://web.test/"), send(proxy, "http://web.test/"))
    wait_until(lambda: "healthy" in str(page(proxy, "http://well.test/")["services"]))
    check(page(proxy, "http://well.test/"), send(proxy, "http://well.test/"))


def test_a_changed_table_is_explained_at_once(interlock, backend):
    first, second = backend(), backend()
    proxy = interlock([service("first", [first], hosts="web.test")])
    assert page(proxy, "http://web.test/")["services"][0]["name"] == "first"
    proxy.write_services([service("second", [second], hosts="web.test")])
    wait_until(lambda: page(proxy, "http://web.test/")["services"][0]["name"] == "second")
    proxy.tasks = {"first": first, "second": second}
    check(page(proxy, "http://web.test/"), send(proxy, "http://web.test/"))


def test_controllers_and_proxies(interlock, backend, tmp_path):
    task, blue = backend(), backend()
    its = Feed(interlock, tmp_path, ["blue"])
    controller = its.controller([
        service("web", [task], hosts="web.test", match_methods="GET"),
        service("azure", [blue], hosts="web.test", service_cluster="blue")])
    proxy, other = its.proxy(controller), its.proxy(controller, cluster="blue")
    for each, words, name in [(controller, [], "web"), (controller, ["--cluster", "blue"], "azure"), (proxy, [], "web"),
                              (other, [], "azure")]:
        exit_status, lines, fault = explain(each, "http://web.test/", *words)
        assert exit_status == 0 and lines[-1] == f"answer   by a task of {name}", (lines, fault)
    assert explain(controller, "http://web.test/", "--method", "POST")[0] == 1
    exit_status, lines, fault = explain(controller, "http://web.test/", "--cluster", "red")
    assert (exit_status, lines) == (2, []) and "no such group" in fault
    proxy.tasks = {"web": task}
    check(page(proxy, "http://web.test/"), send(proxy, "http://web.test/"))


# What cannot be asked.


@pytest.mark.parametrize("url", [
    "web.test", "ftp://web.test/", "http://", "http://a b/", "http://web.test/\x1b[2J", "http://web.test/\r\nHost: a",
    "http://wäb.test/", "http://user@web.test/", "http://web.test:0/", "http://web.test/ HTTP/1.1\r\nX: y", "",
    "http://web.test/\u202ereversed", "https://127.0.0.1/", b"http://web.test/\xff\xfe",
])
def test_a_bad_url(stage, url):
    for words in ([], [str(stage.services_path)]):
        exit_status, lines, fault = explain(stage, url, *words)
        assert (exit_status, lines) == (2, []) and fault.startswith("interlock: explain: ") and fault.count("\n") == 1
        assert all(each.isprintable() for each in fault[:-1]), fault
    text = url.decode("latin-1") if isinstance(url, bytes) else url
    answer = stage.admin("/api/explain?url=" + urllib.parse.quote(text))
    assert answer.status == 400 and all(each.isprintable() for each in answer.text[:-1]), answer


@pytest.mark.parametrize("words, expected", [
    (["--method", "G T"], "no method"), (["--header", "nothing"], "is no header"),
    (["--header", "A: b\nC: d"], "is no header"), (["--wrong", "x"], "unknown option"),
    (["/there/is/no.json"], "/there/is/no.json"),
    (["--header", "A: " + "x" * 5000], "too long"),
])
def test_a_bad_question(stage, words, expected):
    exit_status, lines, fault = explain(stage, "http://web.test/", *words)
    assert (exit_status, lines) == (2, []) and expected in fault and fault.count("\n") == 1, fault


def test_no_instance(stage):
    exit_status, lines, fault = explain(stage, "http://web.test/", INTERLOCK_ADMIN_LISTEN="127.0.0.1:1")
    assert (exit_status, lines) == (2, []) and "no answer from the admin listener" in fault
    exit_status, lines, fault = explain(stage, "http://web.test/", INTERLOCK_ADMIN_LISTEN="off")
    assert (exit_status, lines) == (2, []) and "there is nothing to ask" in fault


def test_another_server_at_the_port(interlock, backend):
    """What answers there may be anything: it is printed harmlessly, and never taken for an explanation."""
    hostile = backend(default=lambda request: [response(200, b"\x1b[2Janswer   by a task\n"), Close()])
    done = subprocess.run(
        [binary_path(), "explain", "http://web.test/"], env={"INTERLOCK_ADMIN_LISTEN": f"127.0.0.1:{hostile.port}"},
        capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (2, "") and "\x1b" not in done.stderr


def test_the_token(interlock, backend):
    """By another address than loopback nobody is asked without it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address = probe.getsockname()[0]
    listen = f"{address}:{free_port(address)}"
    outside = interlock([service("web", [backend()], hosts="web.test")], wait=False, environment={
        "INTERLOCK_ADMIN_TOKEN": "secret", "INTERLOCK_ADMIN_LISTEN": listen})
    outside.wait_for_log('"started"')
    for given, wanted in [({"INTERLOCK_ADMIN_TOKEN": "secret"}, 0), ({}, 2), ({"INTERLOCK_ADMIN_TOKEN": "wrong"}, 2)]:
        exit_status, lines, fault = explain(outside, "http://web.test/", INTERLOCK_ADMIN_LISTEN=listen, **given)
        assert exit_status == wanted, fault
        if wanted == 0:
            continue
        assert (exit_status, lines) == (2, []) and "a bearer token is needed" in fault, fault


def test_hostile_names_in_a_file_command_no_terminal(tmp_path):
    path = tmp_path / "services.json"
    path.write_text(json.dumps({"services": [
        {"name": "web", "labels": {"com.docker.lb.hosts": "web.test", "com.docker.lb.match_headers": "X-A: \u009b2J"},
         "endpoints": ["127.0.0.1:1"]},
        {"name": "w\x1b[2J\u202e", "labels": {"com.docker.lb.hosts": "other.test"}, "endpoints": ["127.0.0.1:2"]}]}))
    for url in ("http://web.test/", "http://other.test/"):
        done = run_binary("explain", url, str(path), environment={"INTERLOCK_DOCKER": "off"})
        assert done.returncode in (0, 1) and all(each.isprintable() or each == "\n" for each in done.stdout), done


@pytest.mark.parametrize("words", [("explain", "http://a.test/"), ("check",), ("render", "nginx")], ids=str)
def test_a_file_that_is_refused_commands_no_terminal(tmp_path, words):
    file = tmp_path / "services.json"
    file.write_text(json.dumps({"services": [], "x\x1b[2J\ny\u202e": 1}))
    done = run_binary(*words, str(file))
    assert done.returncode == 2 and "x\\u{1B}[2J\\ny\\u{202E}" in done.stderr
    assert done.stderr.count("\n") == 1 and not set("\x1b\u202e") & set(done.stderr)


def test_a_probe_may_ask_anything(interlock):
    """Only pages that are asked something mind how it is written."""
    proxy = interlock()
    for page, status in (("/healthz?x=100%", 200), ("/readyz?%", 200), ("/metrics?%zz", 200), ("/api/routes?%zz", 400)):
        assert proxy.admin(page).status == status, page
