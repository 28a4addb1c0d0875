"""Create twenty sandboxes from asyncio, each with a veth to a bridge, and ping the bridge from all at once.

Run it as root in namespaces of your own: unshare -nm python examples/many_at_once.py
"""

import asyncio
import subprocess

from netsandbox import InterfaceSpec, Veth
from netsandbox.aio import Sandbox

NAMES = [f"lab{number}" for number in range(2, 22)]


async def ping(box: Sandbox) -> bool:
    done = await box.exec(["ping", "-q", "-c", "1", "-w", "10", "10.0.0.1"], stdout=subprocess.DEVNULL)
    return done.returncode == 0


async def main() -> None:
    made = await Sandbox.create_many(
        {
            name: [InterfaceSpec(Veth(f"to-{name}", master="br0"), addresses=[f"10.0.0.{number}/24"])]
            for number, name in enumerate(NAMES, 2)
        }
    )
    made.raise_for_failures()
    print(sum(await asyncio.gather(*map(ping, made))), "of", len(made), "reach the bridge")
    gone = await Sandbox.destroy_many(made, wait=True)
    print(gone)


subprocess.run(["ip", "link", "add", "br0", "type", "bridge"], check=True)
subprocess.run(["ip", "address", "add", "10.0.0.1/24", "dev", "br0"], check=True)
subprocess.run(["ip", "link", "set", "br0", "up"], check=True)
asyncio.run(main())
subprocess.run(["ip", "link", "delete", "br0"], check=True)
