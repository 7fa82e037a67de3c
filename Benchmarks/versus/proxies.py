"""The proxies of the comparison: how each is configured and started.

Every proxy gets one worker (one thread, one process that moves bytes), keep-alive on both sides, reuse of
upstream connections, no access log, and X-Forwarded-For. Interlock keeps all its defaults: it also writes
X-Forwarded-Proto, -Host, -Port, X-Real-IP, X-Request-ID and Via, which haproxy and nginx are spared.
`haproxy-equal` and `nginx-equal` are the same programs asked to write the same header fields.

Every proxy that knows TLS has the same certificate (ECDSA, P-256) and its own defaults for the rest.
"""

import dataclasses
import json
import os
import pathlib
import shutil
from typing import Callable


@dataclasses.dataclass(frozen=True)
class Places:
    """Where one proxy works: its directory, its ports, the tasks behind it, the PEM with certificate and key."""

    directory: pathlib.Path
    http: int
    tls: int
    #: Port of passthrough by SNI, where it is not the one of TLS.
    passthrough: int
    stream: int
    admin: int
    backend: int
    stream_backend: int
    pem: pathlib.Path

    def port(self, entry: str, shares_port: bool) -> int:
        return self.tls if entry == "passthrough" and shares_port else getattr(self, entry)


@dataclasses.dataclass(frozen=True)
class Proxy:
    """One program under test."""

    name: str
    #: places -> (command, extra environment)
    prepare: Callable[[Places], tuple[list[str], dict[str, str]]]
    #: The program that must exist, or None.
    needs: str | None
    entries: tuple[str, ...] = ("http",)
    #: TLS that is terminated and TLS that is passed through come in by one port.
    shares_port: bool = False


HAPROXY = """
global
    nbthread 1
    maxconn 4096
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s
    option http-keep-alive
frontend entry
    bind 127.0.0.1:{http}
    bind 127.0.0.1:{tls} ssl crt {pem} alpn http/1.1
    option forwardfor
{fields}
    default_backend web
frontend passthrough
    mode tcp
    bind 127.0.0.1:{passthrough}
    tcp-request inspect-delay 5s
    tcp-request content accept if {{ req_ssl_hello_type 1 }}
    use_backend stream if {{ req_ssl_sni -i pass.test }}
frontend stream
    mode tcp
    bind 127.0.0.1:{stream}
    default_backend stream
backend stream
    mode tcp
    server task 127.0.0.1:{stream_backend} maxconn 1024
backend web
    http-reuse always
    server task 127.0.0.1:{backend} maxconn 1024 pool-max-conn 1024
"""

HAPROXY_EQUAL_FIELDS = """
    http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Port %[dst_port]
    http-request set-header X-Real-IP %[src]
    http-request set-header Via "1.1 haproxy"
    unique-id-format %[uuid()]
    unique-id-header X-Request-ID
    http-response set-header X-Request-ID %[unique-id]
    http-response set-header Via "1.1 haproxy"
"""

NGINX = """
{user}
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 0;
    ssl_certificate {pem};
    ssl_certificate_key {pem};
    ssl_protocols TLSv1.2 TLSv1.3;
    keepalive_timeout 60s;
    keepalive_requests 100000000;
    upstream web {{
        server 127.0.0.1:{backend};
        keepalive 1024;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{http};
        listen 127.0.0.1:{tls} ssl;
        location / {{
            proxy_pass http://web;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
{fields}
        }}
    }}
}}
"""

NGINX_EQUAL_FIELDS = """
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host;
            proxy_set_header X-Forwarded-Port $server_port;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header Via "1.1 nginx";
            proxy_set_header X-Request-ID $request_id;
            add_header X-Request-ID $request_id;
            add_header Via "1.1 nginx";
"""

NGINX_STREAM_FIELDS = """
            proxy_buffering off;
            proxy_request_buffering off;
"""


def _haproxy(fields: str) -> Callable:
    def prepare(places):
        path = places.directory / "haproxy.cfg"
        path.write_text(HAPROXY.format(**dataclasses.asdict(places), fields=fields))
        return ["haproxy", "-db", "-f", str(path)], {}

    return prepare


def _nginx(fields: str) -> Callable:
    def prepare(places):
        path = places.directory / "nginx.conf"
        # Started by root, the worker stays root: it writes its temporary files into the work directory.
        user = "user root;" if os.getuid() == 0 else ""
        path.write_text(NGINX.format(**dataclasses.asdict(places), user=user, fields=fields))
        return ["nginx", "-p", str(places.directory), "-e", "stderr", "-c", str(path)], {}

    return prepare


def _floor(binaries: pathlib.Path) -> Callable:
    return lambda places: ([str(binaries / "floor"), str(places.http), str(places.backend)], {})


def _service(name: str, port: int, **labels: str) -> dict:
    named = {f"com.docker.lb.{label}": value for label, value in labels.items()}
    return {"name": name, "labels": named, "endpoints": [f"127.0.0.1:{port}"]}


def _interlock(binary: pathlib.Path) -> Callable:
    def prepare(places):
        services = places.directory / "services.json"
        services.write_text(json.dumps({"services": [
            _service("web", places.backend, hosts="web.test", default_backend="true", ssl_cert=places.pem.name),
            _service("pass", places.stream_backend, hosts="pass.test", ssl_passthrough="true"),
            _service("stream", places.stream_backend, tcp_port=str(places.stream)),
        ]}))
        return [str(binary)], {
            "INTERLOCK_HTTP_LISTEN": f"127.0.0.1:{places.http}",
            "INTERLOCK_HTTPS_LISTEN": f"127.0.0.1:{places.tls}",
            "INTERLOCK_TCP_PORTS": str(places.stream),
            "INTERLOCK_SECRETS_DIR": str(places.pem.parent),
            "INTERLOCK_ADMIN_LISTEN": f"127.0.0.1:{places.admin}",
            "INTERLOCK_DOCKER": "off",
            "INTERLOCK_WORKERS": "1",
            "INTERLOCK_SERVICES_FILE": str(services),
        }

    return prepare


def known(binaries: pathlib.Path, interlock: pathlib.Path) -> dict[str, Proxy]:
    """All proxies by name; the order is the order of the first round."""
    every, http = ("http", "tls", "passthrough", "stream"), ("http", "tls")
    proxies = [
        Proxy("floor", _floor(binaries), None),
        Proxy("haproxy", _haproxy(""), "haproxy", every),
        Proxy("nginx", _nginx(""), "nginx", http),
        Proxy("interlock", _interlock(interlock), str(interlock), every, shares_port=True),
        Proxy("haproxy-equal", _haproxy(HAPROXY_EQUAL_FIELDS), "haproxy", http),
        Proxy("nginx-equal", _nginx(NGINX_EQUAL_FIELDS), "nginx", http),
        Proxy("nginx-stream", _nginx(NGINX_STREAM_FIELDS), "nginx", http),
    ]
    return {proxy.name: proxy for proxy in proxies}


def is_there(proxy: Proxy) -> bool:
    """Whether the program of this proxy can be started here."""
    return proxy.needs is None or shutil.which(proxy.needs) is not None
