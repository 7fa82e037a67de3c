"""match_headers and match_methods: the route of a request is chosen by what it says, and falls back by rule."""

import pytest

from harness import response, service, wait_until


def named(backend, *names):
    """Backends that answer with their names."""
    return {name: backend(default=lambda request, name=name: response(200, name.encode())) for name in names}


@pytest.fixture
def ask(interlock):
    """ask.start(services) and then ask(target, fields, method) -> (status, body), all on one connection."""

    class Asking:
        def start(self, services, **options):
            self.proxy = interlock(services, **options)
            self.connection = self.proxy.connect()

        def __call__(self, target="/", headers=(), method="GET", host="web.test"):
            self.connection.request(method, target, host=host, headers=headers)
            answer = self.connection.read_response(method)
            return answer.body.decode() if answer.status == 200 else answer.status

    asking = Asking()
    yield asking
    asking.connection.close()


def test_a_preview_sees_the_green_version_and_everybody_else_the_blue(ask, backend):
    tasks = named(backend, "blue", "green")
    ask.start([
        service("blue", [tasks["blue"]], hosts="web.test"),
        service("green", [tasks["green"]], hosts="web.test", match_headers="X-Preview: green"),
    ])
    assert ask() == "blue"
    assert ask(headers=[("X-Preview", "green")]) == "green"
    assert ask(headers=[("x-preview", "  green ")]) == "green", "names in any case, without the space around"
    assert ask(headers=[("X-PREVIEW", "green")]) == "green"
    assert ask(headers=[("X-Preview", "Green")]) == "blue", "values byte for byte"
    assert ask(headers=[("X-Preview", "green2")]) == "blue"
    assert ask(headers=[("X-Preview", "")]) == "blue"
    assert ask(headers=[("X-Preview", "blue"), ("A", "b"), ("X-Preview", "green")]) == "green", "any of several fields"
    assert ask(headers=[("X-Preview2", "green"), ("X_Preview", "green")]) == "blue"
    assert ask() == "blue"


def test_all_conditions_must_hold_and_more_go_before_fewer(ask, backend):
    tasks = named(backend, "plain", "one", "two", "posts")
    ask.start([
        service("plain", [tasks["plain"]], hosts="web.test"),
        service("one", [tasks["one"]], hosts="web.test", match_headers="X-A"),
        service("two", [tasks["two"]], hosts="web.test", match_headers="X-A;X-B: b"),
        service("posts", [tasks["posts"]], hosts="web.test", match_headers="X-C", match_methods="POST,PURGE"),
    ])
    assert ask() == "plain"
    assert ask(headers=[("X-A", "anything")]) == "one"
    assert ask(headers=[("X-A", "")]) == "one", "that it is there is enough"
    assert ask(headers=[("X-A", "1"), ("X-B", "c")]) == "one"
    assert ask(headers=[("X-A", "1"), ("X-B", "b")]) == "two"
    assert ask(headers=[("X-B", "b")]) == "plain"
    assert ask(headers=[("X-C", "1")]) == "plain"
    assert ask(headers=[("X-C", "1")], method="POST") == "posts"
    assert ask(headers=[("X-C", "1")], method="PURGE") == "posts"
    assert ask(headers=[("X-C", "1")], method="purge") == "plain"
    assert ask(method="POST") == "plain"


def test_the_longest_path_is_asked_first_and_a_shorter_one_takes_what_is_left(ask, backend):
    tasks = named(backend, "root", "app", "preview", "deep")
    ask.start([
        service("root", [tasks["root"]], hosts="web.test"),
        service("app", [tasks["app"]], hosts="web.test", context_root="/app", match_methods="GET"),
        service("preview", [tasks["preview"]], hosts="web.test", match_headers="X-Preview"),
        service("deep", [tasks["deep"]], hosts="web.test", context_root="/app/deep", match_headers="X-Preview"),
    ])
    preview = [("X-Preview", "1")]
    assert ask("/app") == "app"
    assert ask("/app", preview) == "app", "a longer path goes before any condition of a shorter one"
    assert ask("/app", method="POST") == "root"
    assert ask("/app", preview, method="POST") == "preview"
    assert ask("/app/deep/x", preview) == "deep"
    assert ask("/app/deep/x") == "app"
    assert ask("/app/deep/x", method="POST") == "root"
    assert ask("/elsewhere", preview) == "preview"


def test_without_a_route_for_everybody_the_rest_gets_404(ask, backend):
    tasks = named(backend, "only", "default")
    ask.start([
        service("only", [tasks["only"]], hosts="web.test", match_headers="X-Key: k"),
        service("default", [tasks["default"]], default_backend=True),
    ])
    assert ask(headers=[("X-Key", "k")]) == "only"
    assert ask() == 404, "the host is claimed: no default backend takes what it refuses"
    assert ask(host="other.test") == "default"


def test_a_path_is_judged_the_same_whoever_answers(ask, backend):
    """The check of ambiguous paths compares what comes first, not what was chosen."""
    tasks = named(backend, "root", "app")
    ask.start([
        service("root", [tasks["root"]], hosts="web.test"),
        service("app", [tasks["app"]], hosts="web.test", context_root="/app", match_headers="X-A"),
    ])
    for headers in ([], [("X-A", "1")]):
        assert ask("/app/%78", headers) == ("app" if headers else "root")
        assert ask("/app/../x", headers) == 400
        assert ask("/%61pp/x", headers) == 400, "a task might take it for /app"
        assert ask("/x/y%2Fz", headers) == "root"


def test_what_speaks_for_the_client_is_matched_only_from_who_is_trusted(interlock, backend):
    tasks = named(backend, "plain", "inside")
    services = [
        service("plain", [tasks["plain"]], hosts="web.test"),
        service("inside", [tasks["inside"]], hosts="web.test", match_headers="X-Real-IP: 10.0.0.1"),
    ]
    claim = [("X-Real-IP", "10.0.0.1")]
    assert interlock(services).get(headers=claim).body == b"plain"
    trusting = interlock(services, environment={"INTERLOCK_TRUSTED_PROXIES": "127.0.0.0/8"})
    assert trusting.get(headers=claim).body == b"inside"


def test_conditions_change_without_losing_a_request(interlock, backend):
    tasks = named(backend, "blue", "green")

    def services(preview):
        return [service("blue", [tasks["blue"]], hosts="web.test"),
                service("green", [tasks["green"]], hosts="web.test", match_headers=f"X-Preview: {preview}")]

    proxy = interlock(services("one"))
    with proxy.connect() as connection:
        def ask(value):
            connection.request(headers=[("X-Preview", value)])
            answer = connection.read_response()
            assert answer.status == 200
            return answer.body

        assert ask("one") == b"green"
        proxy.write_services(services("two"))
        wait_until(lambda: ask("two") == b"green")
        assert ask("one") == b"blue"


def test_a_stripped_prefix_is_that_of_the_route_that_was_chosen(interlock, backend):
    tasks = named(backend, "root", "app")
    proxy = interlock([
        service("root", [tasks["root"]], hosts="web.test"),
        service("app", [tasks["app"]], hosts="web.test", context_root="/app", context_root_rewrite=True,
                match_headers="X-A"),
    ])
    assert proxy.get("/app/x", headers=[("X-A", "1")]).body == b"app"
    assert proxy.get("/app/x").body == b"root"
    assert tasks["app"].last.line.startswith("GET /x ")
    assert tasks["root"].last.line.startswith("GET /app/x ")
    assert proxy.get("/app").body == b"root", "no redirect of a route that was not chosen"
    assert proxy.get("/app", headers=[("X-A", "1")]).status == 301
