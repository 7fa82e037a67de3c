"""What a process of a network namespace can reach, as a program: tries every TCP port of each address and prints the
open ones as JSON. Run it with `nsenter --net` in the namespace that is meant.

    python reach.py ADDRESS [ADDRESS ...]
"""

import errno
import json
import select
import socket
import sys
import time

AT_ONCE = 2000
PATIENCE = 1.0


def open_ports(address):
    found, waiting = [], {}
    poll = select.epoll()

    def settle(timeout):
        for descriptor, _ in poll.poll(timeout):
            connecting, port, _ = waiting.pop(descriptor)
            if connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                found.append(port)
            connecting.close()
        for descriptor in [each for each, (_, _, until) in waiting.items() if until < time.monotonic()]:
            waiting.pop(descriptor)[0].close()

    for port in range(1, 65536):
        connecting = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connecting.setblocking(False)
        status = connecting.connect_ex((address, port))
        if status == errno.EINPROGRESS:
            waiting[connecting.fileno()] = (connecting, port, time.monotonic() + PATIENCE)
            poll.register(connecting, select.EPOLLOUT)
        else:
            if status == 0:
                found.append(port)
            connecting.close()
        while len(waiting) >= AT_ONCE:
            settle(0.05)
    while waiting:
        settle(0.05)
    return sorted(found)


if __name__ == "__main__":
    print(json.dumps({address: open_ports(address) for address in sys.argv[1:]}))
