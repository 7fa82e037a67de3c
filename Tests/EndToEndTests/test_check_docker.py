"""`interlock check` against an engine, and managed services: what it says is to be done by hand, and what is done.

The engine is scripted; it takes an update as Swarm does, only over the version that was read.
"""

import os
import subprocess

import pytest

from harness import binary_path, wait_until
from harness.engine import NETWORK

pytestmark = pytest.mark.plain

SHOP = "shop-network"


def check(engine, *words, **environment):
    """(exit status, lines, standard error) of `interlock check` with those settings."""
    settings = {key: value for key, value in os.environ.items() if not key.startswith(("INTERLOCK_", "DOCKER_"))}
    settings.update(INTERLOCK_DOCKER=f"unix://{engine.path}")
    settings.update({f"INTERLOCK_{key.upper()}": value for key, value in environment.items()})
    done = subprocess.run(
        [binary_path(), "check", *words], env=settings, capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stdout.splitlines(), done.stderr


def commands(lines):
    return [line.removeprefix("run      ") for line in lines if line.startswith("run ")]


@pytest.fixture
def shop(engine):
    """`shop.test` on a network of its own, with a certificate; nothing is attached to the services of the proxy."""
    engine.networks.append({"Id": SHOP, "Name": "shop_back", "Scope": "swarm"})
    engine.add_service(
        "shop_web", stack="shop", networks=[SHOP], hosts="shop.test", port=80, ssl_cert="site.crt", ssl_key="site.key")
    engine.add_service("lb_proxy")
    engine.add_service("lb_controller", secrets=["feed"])
    engine.add_secret("site.crt")
    engine.add_secret("shop_site.key")
    return engine


def test_all_is_well(engine):
    engine.add_service("web", hosts="web.test", port=80)
    engine.add_task("web", "127.0.0.11")
    assert check(engine) == (0, ["route    web.test/ -> web"], "")


def test_says_what_is_to_be_run(shop):
    status, lines, error = check(shop, proxy_service="lb_proxy", controller_service="lb_controller")
    assert (status, error) == (1, "")
    by_hand = [
        "docker service update --secret-add site.crt lb_controller",
        "docker service update --secret-add shop_site.key lb_controller",
        "docker service update --network-add shop_back lb_proxy",
    ]
    assert commands(lines) == by_hand
    assert any(line.startswith("error    shop_web") and line.endswith(by_hand[-1]) for line in lines)
    assert not any(line.startswith("route") for line in lines)
    # Done: what was said is what was missing.
    shop.add_service("lb_proxy", networks=[NETWORK, SHOP])
    shop.add_service("lb_controller", secrets=["feed", "site.crt", "shop_site.key"])
    status, lines, _ = check(shop, proxy_service="lb_proxy", controller_service="lb_controller")
    assert (status, commands(lines)) == (0, [])
    assert "route    shop.test/ -> shop_web" in lines
    assert not any(path.startswith("POST") for path, _ in shop.requests)


def test_a_secret_that_is_not_there_is_made_first(shop):
    del shop.secrets["site.crt"]
    status, lines, _ = check(shop, controller_service="lb_controller", network=SHOP)
    assert status == 1
    assert commands(lines) == [
        "docker secret create site.crt FILE",
        "docker service update --secret-add site.crt lb_controller",
        "docker service update --secret-add shop_site.key lb_controller",
    ]


def test_nobody_knows_the_services(shop):
    status, lines, _ = check(shop)
    assert status == 1
    assert commands(lines)[0] == "docker service update --secret-add site.crt <controller service>"


@pytest.mark.parametrize("name", ["x; touch /tmp/owned", "$(id)", "-v", "a b", "--secret-rm=feed"])
def test_a_name_that_means_harm_is_in_no_command(engine, name):
    engine.add_service("web", hosts="web.test", port=80, ssl_cert=name)
    status, lines, _ = check(engine, controller_service="web")
    assert status == 1
    assert all(command.startswith("#") for command in commands(lines))


def test_groups_are_told_apart(shop):
    shop.add_service("lb_blue", networks=[SHOP])
    shop.add_service("blue", networks=[SHOP], hosts="blue.test", port=80, service_cluster="blue")
    _, lines, _ = check(shop, proxy_service="lb_proxy,blue=lb_blue", controller_service="lb_controller")
    assert 'group    ""' in lines
    place = lines.index('group    "blue"')
    assert lines[place + 1] == "route    blue.test/ -> blue"


def test_an_engine_that_does_not_answer(shop, tmp_path):
    shop.fail("/services", 500)
    status, lines, error = check(shop)
    assert (status, lines) == (2, [])
    assert "GET /services" in error
    shop.heal()
    shop.fail("/secrets", 403)
    status, lines, error = check(shop, controller_service="lb_controller", network=SHOP)
    assert status == 1
    assert len(commands(lines)) == 2
    assert "the commands may say too much" in error
    file = tmp_path / "services.json"
    file.write_text('{"services":[{"name":"a","labels":{"com.docker.lb.hosts":"a.test"},"endpoints":["127.0.0.1:1"]}]}')
    shop.fail("/info", "silence")
    assert check(shop, str(file)) == (0, ["route    a.test/ -> a"], "")
    shop.heal()


# Managed services.


def attached(engine, name):
    template = engine.services[name]["Spec"]["TaskTemplate"]
    return ([each["SecretName"] for each in template["ContainerSpec"]["Secrets"]],
            [each["Target"] for each in template["Networks"]])


def managing(engine, interlock, how="proxy"):
    return interlock((), environment=engine.environment | {
        "INTERLOCK_MANAGE_SERVICES": how, "INTERLOCK_CONTROLLER_SERVICE": "lb_controller",
        "INTERLOCK_PROXY_SERVICE": "lb_proxy"})


def test_what_labels_need_is_attached(shop, interlock):
    managing(shop, interlock)
    wait_until(lambda: attached(shop, "lb_controller")[0] == ["feed", "shop_site.key", "site.crt"], timeout=20)
    wait_until(lambda: attached(shop, "lb_proxy")[1] == [NETWORK, SHOP], timeout=20)
    spec = shop.services["lb_controller"]["Spec"]
    assert spec["UpdateConfig"]["FailureAction"] == "rollback"
    assert spec["Labels"]["com.docker.lb.added_secrets"] == "shop_site.key,site.crt"
    assert spec["TaskTemplate"]["ContainerSpec"]["Secrets"][-1]["File"]["Mode"] == 0o444
    assert sorted(shop.updates) == ["lb_controller"] * 2 + ["lb_proxy"] * 2


def test_a_secret_that_comes_later_is_attached_then(shop, interlock):
    del shop.secrets["site.crt"], shop.secrets["shop_site.key"]
    proxy = managing(shop, interlock, how="true")
    wait_until(lambda: "docker secret create site.crt FILE" in proxy.log, timeout=20)
    assert attached(shop, "lb_controller")[0] == ["feed"]
    shop.add_secret("site.crt")
    shop.add_secret("site.key")
    wait_until(lambda: sorted(attached(shop, "lb_controller")[0]) == ["feed", "site.crt", "site.key"], timeout=30)
    # Networks are the operator's.
    assert attached(shop, "lb_proxy")[1] == [NETWORK]


def test_off_by_default(shop, interlock):
    interlock((), environment=shop.environment | {"INTERLOCK_CONTROLLER_SERVICE": "lb_controller"})
    wait_until(lambda: shop.count("/services") >= 1, timeout=20)
    shop.add_service("late", hosts="late.test", port=80)
    shop.emit()
    wait_until(lambda: shop.count("/services") >= 2, timeout=20)
    assert not any(path.startswith("POST") or path.startswith("/secrets") for path, _ in shop.requests)
