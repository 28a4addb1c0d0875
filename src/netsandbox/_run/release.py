"""Close namespaces, and delete the host ends of veths that the kernel does not delete."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from netsandbox._run.handle import Handle
from netsandbox._steps import delete_links
from netsandbox._system import namespace
from netsandbox._system.kernel import LinuxKernel
from netsandbox.errors import KernelError
from netsandbox.netlink.link import Link

MANY = 8  # links: from here on, one list of all takes less time than a request for each
TRIES, PAUSE = 30, 0.010  # the kernel takes some 30 ms to destroy a namespace (pause in seconds)


def release(gone: Sequence[tuple[Handle, Sequence[int]]], *, wait: bool = False) -> None:
    """Close unpinned namespaces of one host, and delete the host ends of their veths that the kernel does not.

    The kernel destroys a namespace soon after it is closed, with all veths that were created in it, unless a process is
    inside: then each veth is deleted by its end on the host. Meanwhile, a request for a link waits for rtnl_lock.

    Args:
        gone: The sandboxes, and the indexes of the host ends of the veths that were created in them.
        wait: Whether to wait until the host ends are gone; at most 0.3 s, then they are deleted.
    """
    host = gone[0][0].host
    left = {index: handle for handle, ends in gone for index in ends}
    identities = {handle: handle.release() for handle, _ in gone}
    for _ in range(TRIES if wait and left else 0):
        with suppress(KernelError):  # the next round tries again
            find = _finder(host, len(left))
            left = {index: handle for index, handle in left.items() if find(index)}
        if not left:
            break
        host.pause(PAUSE)
    of = {index: identities[handle] for index, handle in left.items()}
    kept = set(of.values()) if wait else namespace.inhabited(set(of.values()))
    indexes = [index for index, identity in of.items() if identity in kept]
    delete_links(host, indexes)


def _finder(host: LinuxKernel, count: int) -> Callable[[int], Link | None]:
    """Return what finds a link of the host by its index: if many are sought, all are read at once."""
    if count < MANY:
        return host.link
    return {link.index: link for link in host.links()}.get
