"""Rollback and resume with the real binary and a scripted Swarm: what is pinned, what stays live, and who obeys."""

import base64
import json
import threading

import pytest

from harness import run_binary, wait_until
from swarm import Swarm

pytestmark = pytest.mark.plain

#: Bytes that Swarm takes in one config.
CONFIG_LIMIT = 500 * 1024


@pytest.fixture
def swarm(engine, interlock, tmp_path):
    """`web.test` on 127.0.0.11, started: configuration 1."""
    state = tmp_path / "state"
    state.mkdir()
    made = Swarm(engine, interlock, environment={"INTERLOCK_STATE_DIR": str(state)})
    made.backend("127.0.0.11")
    engine.add_service("web", hosts="web.test", port=made.port)
    made.task("web", "127.0.0.11", id="web-1")
    made.start()
    made.wait_for("web.test", "127.0.0.11")
    wait_for_entries(made.proxy, 1)
    yield made
    made.close()


def command(proxy, *words, status=0):
    """Asks the running instance as an operator does."""
    result = run_binary(*words, environment={"INTERLOCK_ADMIN_LISTEN": f"127.0.0.1:{proxy.admin_port}"})
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout + result.stderr


def history(proxy):
    return json.loads(proxy.admin("/api/history").text)


def wait_for_entries(proxy, count):
    wait_until(lambda: len(history(proxy)["configurations"]) == count, message=f"{count} configurations")


def change(swarm, **labels):
    swarm.engine.add_service("web", port=swarm.port, **labels)
    swarm.engine.emit()


def test_labels_are_those_of_then_and_tasks_those_of_now(swarm):
    change(swarm, hosts="other.test")
    swarm.wait_for("other.test", "127.0.0.11")
    wait_for_entries(swarm.proxy, 2)
    newest = history(swarm.proxy)["configurations"][0]
    assert newest["cause"] == "web: hosts web.test -> other.test"
    assert newest["difference"] == ["+ route    other.test/ -> web", "- route    web.test/ -> web"]

    command(swarm.proxy, "rollback", "1")
    # At once: the command returns when it is so.
    assert swarm.answers("web.test") == {"127.0.0.11"}
    assert swarm.answers("other.test") == {503}
    assert history(swarm.proxy)["pin"]["number"] == 1
    assert swarm.proxy.metric("interlock_configuration_pinned") == 1
    assert "a configuration is pinned" in swarm.proxy.log

    def check():
        return run_binary("check", environment={"INTERLOCK_DOCKER": f"unix://{swarm.engine.path}"}).stdout.splitlines()

    pinned, said = check()
    assert pinned.startswith("pinned   configuration 1, by ") and "interlock resume" in pinned
    assert said == "route    other.test/ -> web"

    # A bad label, a new service and another task: only the task counts.
    with swarm.engine.changes():
        change(swarm, hosts="no host", weight="heavy")
        swarm.engine.add_service("shop", hosts="shop.test", port=swarm.port)
        swarm.task("shop", "127.0.0.13")
        swarm.task("web", "127.0.0.12", id="web-2", slot=2)
    swarm.engine.emit()
    swarm.wait_for("web.test", "127.0.0.11", "127.0.0.12")
    assert swarm.answers("shop.test") == {503}
    assert [each["severity"] for each in swarm.findings("shop")] == ["error"]
    assert "configuration 1 is pinned" in swarm.findings("shop")[0]["message"]
    assert not swarm.findings("web")

    change(swarm, hosts="third.test")
    command(swarm.proxy, "resume")
    assert not [line for line in check() if line.startswith("pinned")]
    assert swarm.answers("third.test", 4) == {"127.0.0.11", "127.0.0.12"}
    assert swarm.answers("shop.test") == {"127.0.0.13"}
    assert swarm.answers("web.test") == {503}
    assert history(swarm.proxy)["pin"] is None
    assert swarm.proxy.metric("interlock_configuration_pinned") == 0
    assert not swarm.engine.configs
    wait_for_entries(swarm.proxy, 3)


def test_a_rolling_update_under_a_pin_loses_no_request(swarm):
    change(swarm, hosts="other.test")
    swarm.wait_for("other.test", "127.0.0.11")
    wait_for_entries(swarm.proxy, 2)
    command(swarm.proxy, "rollback", "1")
    stop, failures, count = threading.Event(), [], [0]

    def ask():
        while not stop.is_set():
            answer = swarm.proxy.get("/", "web.test")
            count[0] += 1
            if answer.status != 200:
                failures.append(answer.status)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        # Start-first, five times over; each update says something else in its labels.
        for turn in range(5):
            old, new, address = f"web-{turn + 1}", f"web-{turn + 2}", f"127.0.0.{12 + turn}"
            swarm.task("web", address, id=new, state="starting", slot=1)
            change(swarm, hosts=f"turn-{turn}.test")
            swarm.engine.set_task(new, state="running")
            swarm.engine.emit()
            seen = swarm.tasks[address]
            wait_until(lambda task=seen: task.requests, message=f"{address} is asked")
            swarm.engine.set_task(old, desired="shutdown")
            swarm.engine.emit()
            swarm.wait_for("web.test", address)
            swarm.engine.remove_task(old)
            swarm.engine.emit()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert count[0] > 50
    assert swarm.answers("turn-4.test") == {503}


def test_every_controller_obeys_and_any_lets_go(swarm, interlock):
    other = Swarm(swarm.engine, interlock)
    other.proxy = interlock(None, environment=swarm.engine.environment)
    other.wait_for("web.test", "127.0.0.11")
    change(swarm, hosts="other.test")
    other.wait_for("other.test", "127.0.0.11")
    wait_for_entries(swarm.proxy, 2)
    command(swarm.proxy, "rollback", "1")
    other.wait_for("web.test", "127.0.0.11")
    late = Swarm(swarm.engine, interlock)
    late.proxy = interlock(None, environment=swarm.engine.environment)
    assert late.answers("web.test") == {"127.0.0.11"} and late.answers("other.test") == {503}
    command(late.proxy, "resume")
    for each in [swarm, other, late]:
        each.wait_for("other.test", "127.0.0.11")
    # All that was ever written.
    assert [method for method, _ in swarm.engine.writes] == ["POST", "DELETE"]


def test_a_restart_under_a_pin_obeys_it_at_once_and_keeps_the_history(swarm):
    change(swarm, hosts="other.test")
    swarm.wait_for("other.test", "127.0.0.11")
    wait_for_entries(swarm.proxy, 2)
    before = history(swarm.proxy)["configurations"]
    command(swarm.proxy, "rollback", "1")
    assert swarm.proxy.stop() == 0
    swarm.proxy.start()
    assert swarm.answers("web.test") == {"127.0.0.11"}
    assert history(swarm.proxy)["configurations"] == before
    assert history(swarm.proxy)["pin"]["number"] == 1
    command(swarm.proxy, "resume")
    assert swarm.answers("other.test") == {"127.0.0.11"}


def test_what_cannot_be_is_refused(swarm):
    assert "there is no configuration 9; there are 1" in command(swarm.proxy, "rollback", "9", status=1)
    assert "no configuration is pinned" in command(swarm.proxy, "resume", status=1)
    swarm.engine.fail("/configs/create", 403)
    assert "the engine answered 403: scripted" in command(swarm.proxy, "rollback", "1", status=1)
    swarm.engine.heal()
    assert not swarm.engine.configs
    assert history(swarm.proxy)["pin"] is None


@pytest.mark.parametrize("labels, data", [
    ({"com.docker.lb.pin": "x", "com.docker.lb.pin.part": "1/1"}, b"garbage"),
    ({"com.docker.lb.pin": "x", "com.docker.lb.pin.part": "1/2"}, b"{}"),
    ({"com.docker.lb.pin": "x"}, b'{"interlock_pin":1}'),
    ({"com.docker.lb.pin": "x", "com.docker.lb.pin.part": "1/1"}, b'{"interlock_pin":1,"x":' + b"[" * 100_000),
], ids=["garbage", "a part", "no place", "deep"])
def test_a_pin_that_cannot_be_read_harms_nothing(swarm, labels, data):
    swarm.engine.add_config("broken", labels, data)
    swarm.engine.emit()
    wait_until(lambda: swarm.findings("pin"), message="the pin is told of")
    assert swarm.answers("web.test") == {"127.0.0.11"}
    assert swarm.proxy.metric("interlock_configuration_pinned") == 0
    assert swarm.proxy.metric("interlock_pin_broken") == 1
    command(swarm.proxy, "resume")
    assert not swarm.engine.configs
    wait_until(lambda: not swarm.findings("pin"), message="nothing is wrong any more")


def test_a_large_pin_takes_several_configs(swarm):
    count, padded = 600, "1" + " " * 2_000
    with swarm.engine.changes():
        for number in range(count):
            swarm.engine.add_service(
                f"s{number}", hosts=f"s{number}.test", port=swarm.port, weight=padded)
    swarm.engine.emit()
    wait_for_entries(swarm.proxy, 2)
    command(swarm.proxy, "rollback", "2")
    configs = list(swarm.engine.configs.values())
    sizes = [len(base64.b64decode(config["Spec"]["Data"])) for config in configs]
    assert len(configs) > 2 and max(sizes) < CONFIG_LIMIT
    whole = b"".join(
        base64.b64decode(config["Spec"]["Data"]) for config in sorted(
            configs, key=lambda each: int(each["Spec"]["Labels"]["com.docker.lb.pin.part"].split("/")[0])))
    assert len(json.loads(whole)["services"]) == count + 1
    change(swarm, hosts="other.test")
    wait_until(lambda: "held back" in swarm.proxy.log, message="a change is held back")
    assert swarm.answers("web.test") == {"127.0.0.11"}
    command(swarm.proxy, "resume")
    assert not swarm.engine.configs
