"""The main job on a real Swarm: services come, scale, change and go, and the proxy follows."""

import pytest

from harness import wait_until
from lab.proxied import Load
from lab.swarm import timestamp

pytestmark = pytest.mark.timeout(180)


def test_the_stack_runs_one_proxy_on_each_manager_in_host_mode(proxy, swarm):
    tasks = swarm.tasks("lb_interlock", "running")
    assert [task["NodeID"] for task in tasks] == [swarm.manager.api("/info")[1]["Swarm"]["NodeID"]]
    published = tasks[0]["Status"]["PortStatus"]["Ports"]
    ports = {(port["PublishedPort"], port["PublishMode"]) for port in published}
    assert ports == {(80, "host"), (443, "host"), (9180, "host")}
    assert proxy.admin("/healthz").status == 200


def test_a_service_with_two_labels_answers_within_a_second_of_its_first_task(proxy, services, swarm, figure):
    delays = []
    for number in range(5):
        name = f"fresh{number}"
        services(name, hosts=f"{name}.test")
        _, answered = proxy.wait_for(f"{name}.test", timeout=30)
        running = timestamp(swarm.tasks(name, "running")[0]["Status"]["Timestamp"])
        delays.append(answered - running)
    figure("seconds from 'running' to the first answer: " + ", ".join(f"{delay:.3f}" for delay in delays))
    assert max(delays) <= 1.0, delays


def test_the_client_reaches_the_task_with_its_own_address_and_host(proxy, services, swarm):
    services("seen", hosts="seen.test")
    answer, _ = proxy.wait_for("seen.test", target="/some/path?q=1", timeout=30)
    echoed = answer.text
    assert "/some/path" in echoed and "seen.test" in echoed
    assert swarm.network.host_address in echoed, "X-Forwarded-For has the client's address"


def test_scaling_spreads_evenly_and_zero_answers_503(proxy, services, swarm, figure):
    services("scaled", hosts="scaled.test")
    proxy.wait_for("scaled.test", timeout=30)
    assert len(proxy.instances("scaled.test", 20)) == 1
    swarm.scale("scaled", 4)
    swarm.wait_for_tasks("scaled", 4)
    wait_until(lambda: len(proxy.instances("scaled.test", 8)) == 4, 5, message="four tasks answer")
    on_one = proxy.instances("scaled.test", 400)
    assert len(on_one) == 4 and max(on_one.values()) - min(on_one.values()) <= 2, on_one
    on_many = proxy.instances("scaled.test", 400, keep_alive=False)
    assert len(on_many) == 4 and max(on_many.values()) - min(on_many.values()) <= 40, on_many
    figure(f"400 requests over four tasks: one connection {sorted(on_one.values())}, "
           f"400 connections {sorted(on_many.values())}")

    swarm.scale("scaled", 0)
    answer, _ = proxy.wait_for("scaled.test", status=503, timeout=30)
    assert answer.header("retry-after"), answer
    swarm.scale("scaled", 2)
    proxy.wait_for("scaled.test", timeout=60)


def test_a_removed_service_becomes_an_unknown_host(proxy, services, swarm):
    services("gone", hosts="gone.test")
    proxy.wait_for("gone.test", timeout=30)
    swarm.remove_services("gone")
    proxy.wait_for_unknown_host("gone.test")


def test_a_label_change_reroutes_without_restarting_a_task(proxy, services, swarm):
    services("moved", hosts="before.test")
    proxy.wait_for("before.test", timeout=30)
    task = swarm.tasks("moved", "running")[0]["ID"]
    swarm.update_service("moved", "--label-add", "com.docker.lb.hosts=after.test",
                         "--label-add", "com.docker.lb.context_root=/app")
    proxy.wait_for("after.test", target="/app/x")
    assert proxy.get("after.test", "/other").status == 404
    proxy.wait_for_unknown_host("before.test")
    swarm.update_service("moved", "--label-rm", "com.docker.lb.hosts")
    proxy.wait_for_unknown_host("after.test")
    assert swarm.tasks("moved", "running")[0]["ID"] == task


def test_services_with_the_same_host_share_it_by_tasks(proxy, services, swarm):
    services("blue", hosts="colour.test", replicas=3)
    services("green", hosts="colour.test", replicas=1)
    swarm.wait_for_tasks("blue", 3)
    swarm.wait_for_tasks("green", 1)
    wait_until(lambda: len(proxy.instances("colour.test", 8)) == 4, 10, message="four tasks answer")
    swarm.scale("blue", 0)
    wait_until(lambda: len(proxy.instances("colour.test", 8)) == 1, 30, message="green alone answers")


@pytest.mark.parametrize("label, value", [
    ("com.docker.lb.port", "http"),
    ("com.docker.lb.context_root", "no-slash"),
    ("com.docker.lb.backend_mode", "sometimes"),
])
def test_a_wrong_label_harms_its_own_service_only_and_is_named(proxy, services, swarm, label, value):
    services("healthy", hosts="healthy.test")
    proxy.wait_for("healthy.test", timeout=30)
    with Load(proxy, "healthy.test", threads=2) as load:
        services("broken", hosts="broken.test", labels={label: value})
        wait_until(lambda: "broken" in str(proxy.api_routes()), 15, message="/api/routes names the service")
        wait_until(lambda: load.count > 100, 30)
    assert not load.failures, load.failures[:5]
    told = [each for each in proxy.api_routes()["diagnostics"] if each["service"] == "broken"]
    short = label.removeprefix("com.docker.lb.")
    assert [each["label"] for each in told if each["value"] == value and each["severity"] == "error"] == [short], told
    assert 'service="broken"' in proxy.metrics_text()
    assert proxy.get("healthy.test").status == 200
    assert proxy.get("broken.test").status == 503
    # Mended, it is served, and nobody speaks of it any more.
    swarm.update_service("broken", "--label-rm", label, "--label-add", "com.docker.lb.port=8080")
    proxy.wait_for("broken.test", timeout=30)
    assert not [each for each in proxy.api_routes()["diagnostics"] if each["service"] == "broken"]


def test_a_config_with_services_is_applied_and_its_removal_too(proxy, swarm):
    from harness import RecordingBackend, response
    with RecordingBackend(lambda _: response(200, b"from outside"), host=swarm.network.host_address) as peer:
        entry = {"name": "extra", "labels": {"com.docker.lb.hosts": "extra.test"}, "endpoints": [peer.address]}
        name = swarm.put_config("extra", {"services": [entry]}, labels={"com.docker.lb.services": "true"})
        try:
            answer, _ = proxy.wait_for("extra.test")
            assert answer.body == b"from outside"
        finally:
            swarm.manager.docker("config", "rm", name)
        proxy.wait_for_unknown_host("extra.test")


def test_a_config_with_bad_content_is_named_and_harms_nobody(proxy, services, swarm):
    services("calm", hosts="calm.test")
    proxy.wait_for("calm.test", timeout=30)
    name = swarm.put_config("torn", '{"services": [', labels={"com.docker.lb.services": "true"})
    try:
        wait_until(lambda: "torn" in str(proxy.api_routes()["diagnostics"]), 15, message="the config is named")
        assert proxy.get("calm.test").status == 200
    finally:
        swarm.manager.docker("config", "rm", name)
    wait_until(lambda: "torn" not in str(proxy.api_routes()["diagnostics"]), 15, message="the config is forgotten")
